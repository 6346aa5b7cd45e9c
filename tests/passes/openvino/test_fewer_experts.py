"""Tokens use fewer experts: what that computes, that it outlives files and the op, and that all experts come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from expert_blocks import CLAMPED, experts_model, tokens
from openvino import opset13 as ops
from pruned_layers import infer, plan_of

import scap_ov
from scap_ov.backends.openvino import rewrite
from scap_ov.errors import BadModelError
from scap_ov.evaluation.extract_plan import take_apart
from scap_ov.passes.openvino.fewer_experts import FewerExperts
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.lowering import raise_
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity

UP, DOWN = "block.0.expert_up", "block.0.expert_down"


def blocks_of(model):
    return {match.site.name: match.block for match in find_sites(model).matches}


def close(actual, expected):
    return np.abs(np.asarray(actual).reshape(expected.shape) - expected).max() <= 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize("left", [1, 2])
@pytest.mark.parametrize("clamped", [False, True])
def test_fewer_experts_with_normalised_weights(left, clamped):
    built = experts_model("f32", experts=6, used=3, activation=CLAMPED if clamped else None, biased=clamped)
    model = built.model.clone()
    assert FewerExperts({UP: left, DOWN: left}, blocks_of(model))(model).modified
    inputs = tokens(1, 5, experts=6)
    assert close(infer(model, inputs)[0], replace(built, used=left).answer(*inputs)[0])


def test_nothing_asked_changes_nothing():
    model = experts_model("f32", experts=6, used=3).model
    assert not FewerExperts({}, blocks_of(model))(model).modified
    assert not FewerExperts({UP: 3}, blocks_of(model))(model).modified


def test_a_graph_that_holds_the_number_elsewhere_is_refused():
    model = experts_model("f32", experts=6, used=3).model
    scatter = next(node for node in model.get_ordered_ops() if node.get_type_name() == "ScatterElementsUpdate")
    shaped = ops.reshape(scatter.input_value(2), ops.constant(np.array([-1, 3], np.int64)), special_zero=False)
    scatter.input(2).replace_source_output(shaped.output(0))
    model.validate_nodes_and_infer_types()
    with pytest.raises(BadModelError, match=r"tokens cannot use fewer experts at 1 sites \(block.0.expert_up\).*leave fewer_experts out"):
        FewerExperts({UP: 2}, blocks_of(model))(model)


def test_a_router_of_two_choices_is_refused():
    model = experts_model("f32", apart=True).model
    with pytest.raises(BadModelError, match="leave fewer_experts out"):
        FewerExperts({UP: 1}, blocks_of(model))(model)


@pytest.mark.parametrize("form", ["lowered", "portable"])
def test_a_plan_has_fewer_experts_used_and_all_of_them_come_back(form, tmp_path):
    built = experts_model("u8", experts=6, used=3)
    plan = replace(plan_of(built.model, 0.2, dynamic_quantization=False), experts={UP: 2, DOWN: 2})
    sparse = rewrite(built.model, plan, form, {})
    inputs = tokens(1, 2, experts=6)
    expected = replace(built, used=2).answer(*inputs, (0.2, 0.2))[0]
    assert close(infer(sparse, inputs)[0], expected)
    scap_ov.save_model(sparse, tmp_path / "m.xml")
    core = ov.Core()
    scap_ov.register(core)
    again, stock = take_apart(core.read_model(tmp_path / "m.xml"))
    assert again.experts == plan.experts
    assert {site.experts_per_token for site in again.sites} == {2}
    assert {match.site.experts_per_token for match in find_sites(stock).matches} == {3}
    np.testing.assert_array_equal(infer(stock, inputs)[0], infer(built.model, inputs)[0])
    raised = raise_(core.read_model(tmp_path / "m.xml")).model
    assert close(infer(raised, inputs)[0], expected)
    assert RemoveSparsity()(raised).modified
    assert not RemoveSparsity()(raised).modified
