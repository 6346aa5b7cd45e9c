"""The C++ example builds against the pip wheel and decodes the same tokens as Python does, stock and sparse."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import openvino as ov
import openvino.utils
import pytest

import scap_ov
from scap_ov.models.dataset import model_inputs

SOURCE = Path(__file__).parents[2] / "examples" / "cpp"
NEW_TOKENS = 6


def decode_in_python(folder, ids):
    core = ov.Core()
    scap_ov.register(core)
    request = core.compile_model(core.read_model(folder / "openvino_model.xml"), "CPU").create_infer_request()
    written, part, past = [], ids, 0
    for _ in range(NEW_TOKENS):
        inputs = model_inputs(request.get_compiled_model(), part)
        inputs["attention_mask"] = np.ones((1, past + part.shape[1]), np.int64)
        inputs["position_ids"] = np.arange(past, past + part.shape[1], dtype=np.int64)[None]
        past += part.shape[1]
        written.append(int(np.argmax(request.infer(inputs)["logits"][0, -1])))
        part = np.array([written[-1:]], np.int64)
    return written


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not on the PATH")
def test_cpp_example_decodes_as_python_does(lowered_folder, token_ids, tmp_path):
    cmake = openvino.utils.get_cmake_path()
    for command in (
        ["cmake", "-S", str(SOURCE), "-B", str(tmp_path), f"-DOpenVINO_DIR={cmake}", f"-DTBB_DIR={cmake}"],
        ["cmake", "--build", str(tmp_path)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    words = [str(tmp_path / "scap_ov_example"), str(lowered_folder / "openvino_model.xml"), str(scap_ov.extension_path()), str(NEW_TOKENS)]
    done = subprocess.run([*words, *map(str, token_ids[0])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [int(word) for word in done.stdout.split()] == decode_in_python(lowered_folder, token_ids)
