"""A pruned output projection keeps the MatMul before which openvino-genai slices; rules of keep_slicing."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from small_llm import SHAPE, small_llm

import scap_ov
from scap_ov.custom_ops import OP_NAME
from scap_ov.models.inputs import Inputs
from scap_ov.passes.openvino import keep_slicing
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lowering import lower, raise_
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import SiteKind

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
IDS = np.arange(1, 13, dtype=np.int64)[None]


def with_pruned_head():
    model = small_llm("i8")
    sites = tuple(match.site for match in find_sites(model, lm_head=True).some())
    head = next(site.name for site in sites if site.kind is SiteKind.LM_HEAD)
    entry = SitePlan(head, np.array([0.1], np.float32), np.zeros(1, np.float32), 0.3, None, np.array([0.5], np.float32))
    plan = SparsityPlan(scap_ov.SparsityConfig(lm_head=True), fingerprint(model), sites, {head: entry})
    return InsertSparsity(plan)(model).model


@pytest.fixture
def lowered(monkeypatch):
    monkeypatch.setattr(keep_slicing, "LEAST_RATIO", 1)
    return lower(with_pruned_head()).model


def last_matmul(model):
    """As openvino-genai finds it: from the first output by place."""
    node = model.output(0).get_node().input_value(0).get_node()
    return node if node.get_type_name() == "MatMul" else None


def run(model):
    core = ov.Core()
    scap_ov.register(core)
    request = core.compile_model(model, "CPU", EXACT).create_infer_request()
    request.infer(Inputs(model).for_tokens(IDS))
    return request.get_tensor("logits").data.copy()


def test_rule_1_and_4_slicing_before_the_product_slices_the_logits(lowered):
    assert any(node.get_type_name() == OP_NAME for node in lowered.get_ops())
    assert [min(output.get_names()) for output in lowered.outputs][:2] == [keep_slicing.HIDDEN, "logits"]
    whole = run(lowered)
    matmul = last_matmul(lowered)
    last = ops.slice(matmul.input_value(0), np.array([-1]), np.array([-2]), np.array([-1]), np.array([1]))
    matmul.input(0).replace_source_output(last.output(0))
    lowered.validate_nodes_and_infer_types()
    sliced = run(lowered)
    assert sliced.shape == (1, 1, SHAPE.vocabulary)
    # one row counts as decoding and is pruned, as every token that follows; of a prompt it is dense
    assert 0 < np.abs(sliced[0, 0] - whole[0, -1]).max() < 0.2 * np.abs(whole).max()


def test_the_product_changes_no_bit(lowered, monkeypatch):
    monkeypatch.setattr(keep_slicing, "LEAST_RATIO", 1 << 30)
    without = lower(with_pruned_head()).model  # rule 2
    assert last_matmul(without) is None
    assert len(without.outputs) == len(lowered.outputs) - 1
    np.testing.assert_array_equal(run(without), run(lowered))


def test_rule_5_and_the_way_back(lowered):
    count = len(lowered.outputs)
    assert not keep_slicing.KeepSlicing()(lowered).modified
    assert len(lowered.outputs) == count
    raised = raise_(lowered).model
    assert len(raised.outputs) == count - 1
    assert not any(node.get_friendly_name() == keep_slicing.HIDDEN for node in raised.get_ordered_ops())
    assert "logits" in raised.outputs[0].get_names()


def test_a_dense_projection_is_left_alone():
    model = small_llm("i8")
    assert not keep_slicing.KeepSlicing()(model).modified
    assert not keep_slicing.DropSlicing()(model).modified
