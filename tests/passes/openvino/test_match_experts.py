"""Layers of routed experts are read for what they are, or left stock with the reason."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from expert_blocks import CLAMPED, SPECS, evaluated, experts_model, tokens
from openvino import opset13 as ops
from pruned_layers import infer
from weight_forms import OddNumbers

from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.match_experts import match_experts
from scap_ov.passes.openvino.weights import read_experts
from scap_ov.sites import SiteKind


def block_of(model):
    blocks, reasons = match_experts(model.get_ordered_ops())
    assert reasons == {}
    (block,) = blocks
    return block


@pytest.mark.parametrize("clamped", [False, True])
def test_what_is_read(clamped):
    built = experts_model("f32", experts=6, used=3, activation=CLAMPED if clamped else None, biased=clamped)
    block = block_of(built.model)
    assert (block.experts, block.used, block.activation) == (6, 3, built.activation)
    assert [len(block.up), block.source.get_node().get_friendly_name()] == [1 if clamped else 2, "x"]
    for own, other in zip(block.biases, built.biases, strict=True):
        assert (own is None) == (other is None)
        assert own is None or np.array_equal(own, other)


@pytest.mark.parametrize("form", SPECS)
def test_weights_are_what_the_chain_evaluates_to(form):
    """The order of the experts' rows, scales and zero points, by OpenVINO's own arithmetic."""
    built = experts_model(form)
    for layer in block_of(built.model).layers:
        weight, chain = read_experts(layer), evaluated(layer.input_value(1))
        np.testing.assert_allclose(weight.dequantized().reshape(chain.shape), chain, rtol=1e-6, atol=1e-7)
        n = weight.n // 4
        np.testing.assert_array_equal(weight.part(2 * n, 3 * n).dequantized(), weight.dequantized()[2 * n : 3 * n])


def test_two_sites_of_all_experts_together():
    built = experts_model("u4", experts=6, used=3, k=64, n=32)
    up, down = (match.site for match in find_sites(built.model).matches)
    assert (up.name, up.kind, up.experts, up.experts_per_token) == ("block.0.expert_up", SiteKind.EXPERT_UP, 6, 3)
    assert [layer.out_features for layer in up.layers] == [32, 32]
    assert (down.kind, down.in_features, down.out_features) == (SiteKind.EXPERT_DOWN, 32, 64)
    assert up.weight_count == 3 * 64 * 64, "what a token uses"
    assert (up.rows_per_token, down.rows_per_token) == (1, 3)


def test_two_experts_that_are_chosen_one_after_the_other():
    built = experts_model("f32", apart=True)
    block = block_of(built.model)
    assert (block.used, block.ids.get_node().get_type_name()) == (2, "Concat")
    inputs = tokens(1, 6)
    expected = built.answer(*inputs)[0]
    assert np.abs(infer(built.model, inputs)[0].reshape(expected.shape) - expected).max() < 1e-5
    for lost in (0.0, -3.4e38):  # which other scores may be below
        reasons = [why for _, why in find_sites(experts_model("f32", apart=True, left_out=lost).model).skipped]
        assert any("the second of two choices might take the same expert as the first" in why for why in reasons), reasons


def between(model, kind, make, port=0):
    """The model with something between a node of this kind and one of its inputs."""
    node = next(n for n in model.get_ordered_ops() if n.get_type_name() == kind)
    node.input(port).replace_source_output(make(node.input_value(port)).output(0))
    model.validate_nodes_and_infer_types()
    return model


def computed(model):
    """The weight of the first product depends on an input."""
    scores = model.get_parameters()[1]
    nothing = ops.multiply(ops.reduce_sum(scores, np.array([0, 1])), ops.constant(np.float32(0)))
    return between(model, "MatMul", lambda weight: ops.add(weight, nothing), 1)


def relued(model):
    down = next(n for n in model.get_ordered_ops() if n.get_friendly_name() == "layers.0.experts.down")
    down.input(0).replace_source_output(ops.relu(down.input_value(0)).output(0))
    model.validate_nodes_and_infer_types()
    return model


def tiled_by_concat(model):
    tile = next(n for n in model.get_ordered_ops() if n.get_type_name() == "Tile")
    made = ops.concat([tile.input_value(0)] * 4, 0)
    for reader in list(tile.output(0).get_target_inputs()):
        reader.replace_source_output(made.output(0))
    model.validate_nodes_and_infer_types()
    return model


REFUSED = {
    "the choice is made by": lambda m: between(m, "ScatterElementsUpdate", lambda ids: ops.add(ids, ops.constant(np.int32(0))), 1),
    "something else than zeros": lambda m: between(m, "ScatterElementsUpdate", lambda zeros: ops.add(zeros, ops.constant(np.float32(1)))),
    "what the last product reads": relued,
    "its weight is computed": computed,
    "the tokens are spread by": tiled_by_concat,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_understood_stays_stock_with_the_reason(reason):
    model = REFUSED[reason](experts_model("f32").model)
    found = find_sites(model)
    assert [match.site.kind for match in found.matches if match.site.experts] == []
    reasons = [why for _, why in found.skipped]
    assert any(reason in why and "routed experts" in why for why in reasons), reasons


def test_gate_and_up_of_different_forms_stay_stock():
    one, two = experts_model("u4").model, experts_model("i4").model
    first, second = (next(n for n in m.get_ordered_ops() if n.get_friendly_name() == "layers.0.experts.up") for m in (one, two))
    first.input(1).replace_source_output(second.input_value(1))
    second.input(1).replace_source_output(ops.constant(np.zeros((4, 32, 64), np.float32)).output(0))
    one.validate_nodes_and_infer_types()
    reasons = [why for _, why in find_sites(one).skipped]
    assert any("gate and up are stored differently" in why for why in reasons), reasons


def test_a_weight_that_two_layers_share_stays_stock():
    model = experts_model("f32").model
    up = next(n for n in model.get_ordered_ops() if n.get_friendly_name() == "layers.0.experts.up")
    model = ov.Model([*model.outputs, ops.relu(up.input_value(1)).output(0)], model.get_parameters(), "shared")
    assert any("its weight is shared with" in why for _, why in find_sites(model).skipped)


@pytest.mark.parametrize(("form", "part"), [("f32", "weight"), ("u8", "scale")])
def test_weights_that_are_not_finite_stay_stock(monkeypatch, form, part):
    odd = OddNumbers(np.inf)
    with monkeypatch.context() as patched:
        patched.setattr("expert_blocks.np.random.default_rng", lambda _: odd)
        model = experts_model(form).model
    found = find_sites(model)
    assert not found.matches
    assert {why for _, why in found.skipped} == {f"routed experts: of one projection, its {part} holds NaN or infinity"}
