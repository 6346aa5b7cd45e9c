"""The op gives what float64 gives, and goes back bit for bit; tests answer to rules of LowerExperts and RaiseExperts."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from expert_blocks import CLAMPED, SPECS, experts_model, tokens
from openvino import opset13 as ops
from pruned_layers import infer, plan_of

from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_experts import LowerExperts
from scap_ov.passes.openvino.lowering import raise_
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity
from scap_ov.plan import SparsityPlan

CLOSE = 2e-6


def forms_of(built, threshold, **plan):
    """The portable and the lowered model."""
    portable = InsertSparsity(plan_of(built.model, threshold, **plan))(built.model.clone()).model
    result = LowerExperts(dynamic_quantization=False)(portable.clone())
    assert result.modified
    assert result.skipped == []
    assert [node.get_type_name() for node in result.model.get_ops()].count("SparseExperts") == 1
    return portable, result.model


def close(actual, expected):
    return np.abs(np.asarray(actual).reshape(expected.shape) - expected).max() <= CLOSE * np.abs(expected).max()


@pytest.mark.parametrize("form", SPECS)
@pytest.mark.parametrize("clamped", [False, True])
def test_nothing_is_dropped_below_a_threshold_of_minus_1(form, clamped):
    built = experts_model(form, activation=CLAMPED if clamped else None, biased=clamped)
    _, lowered = forms_of(built, -1)
    for shape in ((1, 1), (1, 7), (3, 2)):
        inputs = tokens(*shape)
        assert close(infer(lowered, inputs)[0], built.answer(*inputs)[0]), shape


@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize(("rows", "shape", "pruned"), [
    ("decode", (1, 1), [1]), ("decode", (3, 1), [1, 1, 1]), ("decode", (1, 5), [0, 0, 0, 0, 0]),
    ("all", (1, 1), [1]), ("all", (1, 5), [0, 1, 1, 1, 1]), ("all", (2, 3), [0, 1, 1, 0, 1, 1]), ("all", (4, 1), [1, 1, 1, 1]),
])  # fmt: skip
def test_both_forms_prune_the_same_rows(rows, shape, pruned, clamped):
    built = experts_model("f32", activation=CLAMPED if clamped else None, biased=clamped)
    inputs = tokens(*shape)
    expected = built.answer(*inputs, (0.4, 0.4), (0.1, 0.1), np.array(pruned, bool))[0]
    for model in forms_of(built, 0.4, center=0.1, rows=rows):
        assert close(infer(model, inputs)[0], expected)


@pytest.mark.parametrize("form", ["u8", "u4", "f32"])
def test_raise_brings_back_portable_and_stock_bit_for_bit(form):
    built = experts_model(form, biased=False)
    portable, lowered = forms_of(built, 0.3, center=0.05)
    again = raise_(lowered.clone())
    assert again.modified
    inputs = tokens(1, 2)
    np.testing.assert_array_equal(infer(again.model, inputs)[0], infer(portable, inputs)[0])
    stock = RemoveSparsity()(again.model).model
    assert fingerprint(stock) == fingerprint(built.model)
    for mine, theirs in zip(find_sites(stock).matches, find_sites(built.model).matches, strict=True):
        assert mine.site == theirs.site
        for one, two in zip(mine.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(one.raw(), two.raw())
            for own, other in ((one.scale, two.scale), (one.zero_point, two.zero_point)):
                assert (own is None) == (other is None)
                assert own is None or np.array_equal(own, other)
    np.testing.assert_array_equal(infer(stock, inputs)[0], infer(built.model, inputs)[0])
    assert not raise_(stock).modified


def test_rule_1_one_of_the_places_alone():
    built = experts_model("f32")
    whole = plan_of(built.model, 0.4)
    inputs = tokens(1, 1)
    for name, thresholds in (("block.0.expert_up", (0.4, -1.0)), ("block.0.expert_down", (-1.0, 0.4))):
        plan = SparsityPlan(whole.config, whole.fingerprint, whole.sites, {name: whole.entries[name]})
        lowered = LowerExperts(dynamic_quantization=False)(InsertSparsity(plan)(built.model.clone()).model).model
        assert close(infer(lowered, inputs)[0], built.answer(*inputs, thresholds)[0])
        (pruned,) = [n for n in raise_(lowered).model.get_ops() if n.get_type_name() == "Select" and name in n.get_friendly_name()]
        assert pruned.get_friendly_name() == f"scap_ov.{name}"


def test_a_stock_layer_is_left_alone():
    assert not LowerExperts()(experts_model().model).modified


def test_saved_and_read_again(tmp_path):
    import scap_ov

    built = experts_model("u4")
    _, lowered = forms_of(built, 0.3)
    scap_ov.save_model(lowered, tmp_path / "m.xml")
    core = ov.Core()
    scap_ov.register(core)
    inputs = tokens(1, 1)
    np.testing.assert_array_equal(infer(core.read_model(tmp_path / "m.xml"), inputs, core)[0], infer(lowered, inputs)[0])
    assert raise_(core.read_model(tmp_path / "m.xml")).modified


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_rule_4_a_centre_that_is_not_finite(place, odd):
    """Of a damaged file, for plans are refused."""
    built = experts_model("f32")
    model = InsertSparsity(plan_of(built.model, 0.4, center=0.1))(built.model.clone()).model
    constants = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant" and node.shape == [1, 1, 1]]
    center = [node for node in constants if node.data.item() == np.float32(0.1)][place]
    for reader in list(center.output(0).get_target_inputs()):
        reader.replace_source_output(ops.constant(np.full((1, 1, 1), odd, np.float32)).output(0))
    result = LowerExperts()(model)
    told = "its centre holds NaN or infinity, which the op would spread over all outputs"
    assert result.skipped == [("block.0.expert_up", told), ("block.0.expert_down", told)]
    assert not result.modified
    assert fingerprint(RemoveSparsity()(model).model) == fingerprint(built.model)
