"""Inserting the pattern into ONNX graphs; that every form computes what it should is in test_tour_of_forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx_graphs import FORMS, K
from small_onnx import small_decoder, with_control_flow

from scap_ov.backends import onnx as backend
from scap_ov.config import SparsityConfig
from scap_ov.errors import BadModelError, MismatchError
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.passes.onnx.find_sites import find_sites, fingerprint
from scap_ov.passes.onnx.insert_sparsity import InsertSparsity
from scap_ov.plan import SitePlan, SparsityPlan


def plan_of(opened, threshold=0.5, **options):
    sites = tuple(match.site for match in find_sites(opened.graph_model, lm_head=True).matches)
    entries = {s.name: SitePlan(s.name, np.full(1, threshold, np.float32), np.zeros(1, np.float32), 0.5) for s in sites}
    return SparsityPlan(SparsityConfig(**options), fingerprint(opened.graph_model), sites, entries)


def test_a_plan_of_another_model_is_refused():
    opened = open_onnx(small_decoder())
    plan = replace(plan_of(opened), fingerprint="onnx:" + "0" * 64)
    with pytest.raises(MismatchError, match="fingerprints differ"):
        InsertSparsity(plan)(opened.clone().graph_model)


def test_numbers_of_the_wrong_size_are_refused():
    opened = open_onnx(small_decoder())
    plan = plan_of(opened)
    plan.entries["block.0.o"] = SitePlan("block.0.o", np.ones(7, np.float32), np.zeros(1, np.float32), 0.5)
    with pytest.raises(MismatchError, match=r"threshold of block.0.o has shape \[7\], the model needs \[1\] or \[64\]"):
        InsertSparsity(plan)(opened.clone().graph_model)


def test_an_unknown_site_is_refused():
    opened = open_onnx(small_decoder())
    plan = plan_of(opened)
    plan.entries["block.9.o"] = plan.entries["block.0.o"]
    with pytest.raises(MismatchError, match=r"block\.9\.o"):
        InsertSparsity(plan)(opened.clone().graph_model)


def test_a_second_run_is_refused():
    opened = open_onnx(small_decoder()).clone()
    plan = plan_of(opened)
    InsertSparsity(plan)(opened.graph_model)
    with pytest.raises(BadModelError, match="sparse already"):
        InsertSparsity(plan)(opened.graph_model)


def test_nothing_dropped_is_the_stock_model_bit_for_bit():
    opened = open_onnx(small_decoder())
    sparse = backend.rewrite(opened, plan_of(opened, -1.0), "portable", {})
    inputs = {"input_ids": np.arange(3)[None], "attention_mask": np.ones((1, 3)), "position_ids": np.arange(3)[None]}
    inputs |= {f"past_key_values.{i}.{part}": np.zeros((1, 2, 0, 16)) for i in range(2) for part in ("key", "value")}
    before, after = OnnxSession(opened).run(inputs), OnnxSession(open_onnx(sparse)).run(inputs)
    assert list(before) == list(after)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_rule_7_one_function_for_all_sites_alike():
    opened = open_onnx(small_decoder())
    sparse = backend.rewrite(opened, plan_of(opened), "function", {})
    onnx.checker.check_model(sparse)
    assert [function.name for function in sparse.functions] == ["PruneDecode"]
    calls = [node for node in sparse.graph.node if node.domain == "scap_ov"]
    assert [node.output[0] for node in calls][:2] == ["scap_ov.block.0.qkv", "scap_ov.block.0.o"]
    assert len(calls) == 9


def test_rule_8_graph_outputs_keep_their_names():
    form = FORMS["gemm without bias"]()
    opened = open_onnx(form.proto)
    plan = plan_of(opened)
    (name,) = plan.entries
    plan.entries[name] = replace(plan.entries[name], compensation=np.ones(48, np.float32))
    sparse = backend.rewrite(opened, plan, "portable", {})
    assert [output.name for output in sparse.graph.output] == ["y0"]
    assert OnnxSession(open_onnx(sparse)).run({"x": np.zeros((1, K), np.float32)})["y0"].ravel() == pytest.approx(np.ones(48))


def test_the_model_that_was_given_is_not_changed():
    proto = small_decoder()
    before = proto.SerializeToString(deterministic=True)
    opened = open_onnx(proto)
    backend.rewrite(opened, plan_of(opened), "function", {})
    assert proto.SerializeToString(deterministic=True) == before
    assert not find_sites(opened.graph_model, lm_head=True).skipped


@pytest.mark.parametrize("form", ["portable", "function"])
def test_control_flow_goes_on_working(form):
    opened = open_onnx(with_control_flow())
    x = np.random.default_rng(0).standard_normal((1, 2, K)).astype(np.float32)
    dense = backend.rewrite(opened, plan_of(opened, -1.0), form, {})
    onnx.checker.check_model(dense, full_check=True)
    reference = OnnxSession(opened).run({"x": x})["out"]
    np.testing.assert_array_equal(OnnxSession(open_onnx(dense)).run({"x": x})["out"], reference)
    sparse = backend.rewrite(opened, plan_of(opened), form, {})
    assert not np.array_equal(OnnxSession(open_onnx(sparse)).run({"x": x})["out"], reference)
