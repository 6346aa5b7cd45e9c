"""Float weights become 8 bits; nothing else changes, and nothing is said on standard output."""

import numpy as np
import openvino as ov
import pytest
from expert_blocks import experts_model
from openvino import opset13 as ops
from pruned_layers import infer, one_site
from weight_forms import OddNumbers, matmul, store

import scap_ov
from scap_ov.backends import onnx
from scap_ov.errors import UsageError
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.weights_to_int8 import weights_to_int8
from scap_ov.passes.rules.constants import typed_constant


def test_float_weights_become_8_bits_and_integers_stay(capfd):
    built = one_site(["f16", "i4-g32", "f32"], [40, 24, 16], 256)
    model = weights_to_int8(built.model)
    (match,) = find_sites(model, lm_head=True).matches
    assert [weight.spec.dtype for weight in match.weights] == ["u8", "i4", "u8"]
    assert [weight.spec.dtype for weight in find_sites(built.model, lm_head=True).matches[0].weights] == ["f16", "i4", "f32"]
    x = np.random.default_rng(0).standard_normal((1, 2, 256)).astype(np.float32)
    for one, two in zip(infer(model, [x]), infer(built.model, [x]), strict=True):
        assert np.abs(one - two).max() < 0.02 * np.abs(two).max()
    assert not capfd.readouterr().out


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_weights_that_are_not_finite_stay_as_they_are():
    x = ops.parameter([-1, -1, 64], np.float32)
    rngs = {"good": np.random.default_rng(0), "bad": OddNumbers(np.inf)}
    layers = [matmul(x, store(24, 64, "f32", rng), name) for name, rng in rngs.items()]
    found = find_sites(weights_to_int8(ov.Model([ops.result(layer) for layer in layers], [x], "m")))
    assert [match.weights[0].spec.dtype for match in found.matches] == ["u8"]
    assert found.skipped == [("bad", "its weight holds NaN or infinity")]


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_whatever_reads_a_weight_that_is_not_finite_it_stays_as_it_is(dtype):
    """Layers that are no sites for another reason too: tables, batched weights, and those that two layers share."""
    values = np.random.default_rng(0).standard_normal((3, 40, 64)).astype(np.float32)
    values[1, 5, 7] = np.nan
    table, batched = (typed_constant(part, list(part.shape), "f32") for part in (values[1], values))
    if dtype != "f32":
        table, batched = (ops.convert(ops.constant(part, getattr(ov.Type, dtype)), np.float32) for part in (values[1], values))
    x = ops.gather(table, ops.parameter([-1, -1], np.int64), ops.constant(0))
    shared = [ops.matmul(x, table, False, True) for _ in range(2)]
    model = ov.Model([ops.result(node) for node in (*shared, ops.matmul(x, batched, False, True))], [x.input_value(1).get_node()], "m")
    assert weights_in(weights_to_int8(model)) == weights_in(model) == [dtype] * 2


def weights_in(model):
    """Element types of the matrices."""
    matrices = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant" and len(node.shape) > 1]
    return [node.get_element_type().get_type_name() for node in matrices if node.shape[-1] == 64]


def test_an_onnx_model_is_refused_in_one_sentence():
    with pytest.raises(UsageError, match="convert the"):
        onnx.in_format(None, "int8")
    with pytest.raises(UsageError, match="weight_format is 'int7'; did you mean 'int8'"):
        scap_ov.SparsityConfig(weight_format="int7")


def test_routed_experts_are_brought_into_8_bits_too():
    built = experts_model("f32", experts=3, k=96, n=40)
    up, down = find_sites(weights_to_int8(built.model)).matches
    for match, dense in ((up, np.concatenate(built.up)), (down, built.down)):
        assert match.site.two_planes
        assert {weight.spec.bits for weight in match.weights} == {8}
        own = np.concatenate([weight.dequantized() for weight in match.weights]).reshape(dense.shape)
        assert np.abs(own - dense).max() < np.abs(dense).max() / 100
