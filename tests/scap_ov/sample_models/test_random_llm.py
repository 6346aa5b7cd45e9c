"""Random models have the layers that benchmarks want to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov

from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.sample_models.random_llm import SHAPES, build
from scap_ov.sites import SiteKind


def test_experts_are_sites_and_run_on_the_fast_path_of_stock() -> None:
    shape = replace(SHAPES["qwen3-30b-a3b"], vocabulary=64, experts=4, used=2, hidden=128, ffn=128, heads=4, kv_heads=2, head_size=32)
    model = build(shape, "i4", 1)
    kinds = [match.site.kind for match in find_sites(model).matches]
    assert kinds == [SiteKind.QKV, SiteKind.O, SiteKind.EXPERT_UP, SiteKind.EXPERT_DOWN]
    request = ov.Core().compile_model(model, "CPU", {"PERF_COUNT": True, "INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    ids = np.arange(3)[None]
    values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": ids, "beam_idx": np.zeros(1, np.int32)}
    assert request.infer(values)["logits"].shape == (1, 3, 64)
    types = [node.node_type for node in request.profiling_info]
    assert types.count("GatherMatmulCompressed") == 3
    assert types.count("RoPE") == 2  # as in exports: the plugin joins it
