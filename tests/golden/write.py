"""Write the files of this folder. Run with scap_ov of revision 581fa40, whose import paths it uses: python tests/golden/write.py FOLDER.

What later versions write may differ; what this revision wrote must be read, and must compute the same, for ever. Do not run it again.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

import scap_ov
from scap_ov.benchmarking.random_llm import Shape, build
from scap_ov.benchmarking.synthetic import random_weight
from scap_ov.calibration.dataset import model_inputs, token_dataset
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import WeightSpec
from scap_ov.storage.model_folder import write_model_folder

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "KV_CACHE_PRECISION": "f32"}
SHAPE = Shape("golden", layers=1, hidden=32, ffn=64, heads=2, kv_heads=1, vocabulary=64)
K, SIZES = 64, (40, 24)
LAYERS = {  # stored form -> its spec, and the options of the plan
    "u4": (WeightSpec("u4", 32, "f16", has_zero_point=True), {}),
    "i4": (WeightSpec("i4", 32, "f16"), {"dynamic_quantization": False}),
    "i8": (WeightSpec("i8", K, "f16"), {"rows": "all"}),
    "u8": (WeightSpec("u8", 32, "f32", has_zero_point=True), {"max_sparse_rows": 64}),
    "f16": (WeightSpec("f16"), {"ramp": 1.0}),
}


def run(core: ov.Core, model: ov.Model, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of one step and, for a decoder, of a prompt and three decode steps after it."""
    request = core.compile_model(model, "CPU", EXACT).create_infer_request()
    if "input_ids" not in inputs:
        return [np.array(value) for value in request.infer(inputs).values()]
    ids, rows = inputs["input_ids"], []
    length = ids.shape[1]
    for start, stop in ((0, length - 3), (length - 3, length - 2), (length - 2, length - 1), (length - 1, length)):
        step = model_inputs(model, ids[:, start:stop])
        step["attention_mask"] = np.ones((1, stop), np.int64)
        step["position_ids"] = np.arange(start, stop, dtype=np.int64)[None]
        rows.append(np.array(request.infer(step)["logits"][0]))
    return [np.concatenate(rows)]


def one_site(spec: WeightSpec) -> ov.Model:
    """Two layers of one form that read x [?, ?, 64]."""
    rng = np.random.default_rng(5)
    x = ops.parameter([-1, -1, K], np.float32, name="x")
    x.output(0).set_names({"x"})
    results = []
    for number, n in enumerate(SIZES):
        node = ops.matmul(x, random_weight(n, K, spec, rng), False, True)
        node.set_friendly_name(f"layers.0.layer{number}")
        node.output(0).set_names({f"y{number}"})
        results.append(ops.result(node))
    return ov.Model(results, [x], "one_site")


def one_plan(model: ov.Model, options: dict[str, object]) -> SparsityPlan:
    """Half of the channels dropped, with centres, and compensation where no ramp forbids it."""
    rng = np.random.default_rng(6)
    site = find_sites(model).matches[0].site
    extra = None if "ramp" in options else rng.standard_normal(site.out_features).astype(np.float32)
    center = (0.1 * rng.standard_normal(K)).astype(np.float32)
    entry = SitePlan(site.name, np.full(1, 0.67, np.float32), center, 0.5, extra)
    config = scap_ov.SparsityConfig(method="scap", replace="always", **options)
    return SparsityPlan(config, fingerprint(model), (site,), {site.name: entry})


def main(folder: Path) -> None:
    """Write everything."""
    core = ov.Core()
    scap_ov.register(core)
    rng = np.random.default_rng(4)
    expected: dict[str, np.ndarray] = {"x": rng.standard_normal((1, 3, K)).astype(np.float32)}
    for name, (spec, options) in LAYERS.items():
        model = one_site(spec)
        plan = one_plan(model, options)
        for form in ("lowered", "portable") if name in ("u4", "f16") else ("lowered",):
            pruned = scap_ov.apply(model, plan, form=form)
            write_model_folder(pruned, None, folder / f"{name}-{form}")
            for number, value in enumerate(run(core, pruned, {"x": expected["x"]})):
                expected[f"{name}-{form}/{number}"] = value
    stock = build(SHAPE, "i4_g32", SHAPE.layers)
    profile = scap_ov.calibrate(stock, token_dataset([rng.integers(0, 64, 16).tolist() for _ in range(4)], stock))
    profile.save(folder / "profile.safetensors")
    (folder / "profile.safetensors.gz").write_bytes(gzip.compress((folder / "profile.safetensors").read_bytes(), 9, mtime=0))
    (folder / "profile.safetensors").unlink()
    expected["ids"] = rng.integers(0, 64, (1, 9))
    for name, config in {
        "plan": scap_ov.SparsityConfig(replace="always", ignored_scope=("block.0.o",)),
        "plan-scap": scap_ov.SparsityConfig(0.4, method="scap", center="mode", replace="always", sequential=False),
    }.items():
        plan = scap_ov.fit(profile, config)
        plan.save(folder / f"{name}.safetensors")
        pruned = scap_ov.apply(stock, plan)
        if name == "plan":
            write_model_folder(pruned, None, folder / "decoder")
        expected[name] = run(core, pruned, {"input_ids": expected["ids"]})[0]
    np.savez_compressed(folder / "expected.npz", **expected)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
