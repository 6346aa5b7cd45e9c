"""External data of more than 2 GB: calibrated, pruned, saved and run, without ever holding it all."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
from pathlib import Path
import nncf, numpy as np
import onnx_ir as ir
sys.path.insert(0, sys.argv[2])
import scap_ov
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.calibration.run_onnx import observe
from onnx_graphs import OnnxGraphBuilder

folder = Path(sys.argv[1])
K, N, LAYERS = 4096, 16384, 9  # 9 x 256 MiB
data = folder / "weights.bin"
rng = np.random.default_rng(0)
with data.open("wb") as file:
    for _ in range(LAYERS):
        (rng.standard_normal((64, N), np.float32) / 64).repeat(K // 64, axis=0).tofile(file)
d = OnnxGraphBuilder(opset=17)
x = d.input("x", ["b", "t", K])
outputs = []
for layer in range(LAYERS):
    place = {"location": "weights.bin", "offset": layer * K * N * 4, "length": K * N * 4, "base_dir": folder}
    tensor = ir.ExternalTensor(**place, dtype=ir.DataType.FLOAT, shape=ir.Shape([K, N]), name=f"w{layer}")
    weight = ir.Value(name=f"w{layer}", shape=ir.Shape([K, N]), type=ir.TensorType(ir.DataType.FLOAT), const_value=tensor)
    d.initializers.append(weight)
    outputs.append(d.op("ReduceSum", d.op("Relu", d.op("MatMul", x, weight, name=f"layer{layer}")), keepdims=0))
total = outputs[0]
for other in outputs[1:]:
    total = d.op("Add", total, other)
ir.save(d.model({"y": total}), folder / "model.onnx")
del d, total, outputs

sample = {"x": rng.standard_normal((1, 4, K)).astype(np.float32)}
profile = observe(open_onnx(folder / "model.onnx"), nncf.Dataset([sample]))
sparse = scap_ov.apply(folder / "model.onnx", profile, scap_ov.SparsityConfig(method="scap", target_sparsity=0.5))
assert sparse.ByteSize() < 1_000_000, sparse.ByteSize()
scap_ov.save_model(sparse, folder / "out")
assert (folder / "out" / "model.onnx.data").stat().st_size >= LAYERS * K * N * 4
dense = OnnxSession(open_onnx(folder / "model.onnx")).run(sample)["y"]
print("difference", float(OnnxSession(open_onnx(folder / "out" / "model.onnx")).run(sample)["y"] - dense), float(dense))
"""


DISK = 6 * 2**30  # 2.25 GiB of weights, and as many written


@pytest.mark.slow
def test_more_than_2_gb(tmp_path):
    if (free := shutil.disk_usage(tmp_path).free) < DISK:
        pytest.skip(f"needs {DISK / 2**30:.0f} GiB in {tmp_path}, where {free / 2**30:.1f} GiB are free")
    limit = 12 * 2**30  # mapped files count as address space, memory that is held is what the allocator asks for

    def bounded():
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    command = [sys.executable, "-I", "-c", PROGRAM, str(tmp_path), str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=bounded)
    assert done.returncode == 0, done.stderr
    _, difference, dense = done.stdout.split()
    assert 0 < abs(float(difference)) < abs(float(dense))
