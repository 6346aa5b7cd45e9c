"""Weight forms that are left stock, each with its reason; the forms that are read are in test_tour_of_forms."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_graphs import BLOCK, INTEGERS, K, N, OnnxGraphBuilder

from scap_ov.models.onnx_model import open_onnx
from scap_ov.passes.onnx.find_sites import find_sites


def reason(d: OnnxGraphBuilder, y) -> str:
    ((name, text),) = find_sites(open_onnx(d.proto({"y": y})).graph_model).skipped
    assert name == d.nodes[-1].name
    return text


def drawn() -> tuple[OnnxGraphBuilder, object]:
    d = OnnxGraphBuilder()
    return d, d.input("x", ["b", "t", K])


def dequantized(d, shape=(K, N), scale=(N,), kind="int8", **attributes):
    dtype, numpy_type, low, high = INTEGERS[kind]
    raw = d.constant("q", d.rng.integers(low, high, shape).astype(np.int32).astype(numpy_type), dtype)
    return d.op("DequantizeLinear", raw, d.constant("s", np.full(scale, 0.1, np.float32)), **attributes)


def test_a_scale_for_each_input_channel():
    d, x = drawn()
    text = reason(d, d.op("MatMul", x, dequantized(d, scale=(K,), axis=0)))
    assert text == "it has a scale for each input channel; one for each output channel is understood"


def test_blocks_of_output_channels():
    d, x = drawn()
    text = reason(d, d.op("MatMul", x, dequantized(d, scale=(K, N // BLOCK), axis=1, block_size=BLOCK)))
    assert text == f"its scales are of blocks of {BLOCK} along axis 1; blocks of input channels that divide {K} are understood"


def test_a_weight_that_is_computed():
    d, x = drawn()
    text = reason(d, d.op("MatMul", x, d.op("Mul", d.weight("a", K, N), d.weight("b", K, N))))
    assert text == "its weight goes through Multiply, which is not understood as a decompression"


def test_a_weight_that_is_quantised_in_the_graph():
    d, x = drawn()
    scale = d.constant("s", np.array(0.1, np.float32))
    q = d.op("QuantizeLinear", d.weight("w", K, N), scale)
    text = reason(d, d.op("MatMul", x, d.op("DequantizeLinear", q, scale)))
    assert text == "its weight is dequantised from QuantizeLinear, not from stored integers"


def test_a_double():
    d = OnnxGraphBuilder()
    x = d.input("x", ["b", "t", K])
    text = reason(d, d.op("MatMul", x, d.op("Cast", d.constant("w", np.ones((K, N))), to=1)))
    assert text == "its weight is f64, for which there is no kernel"


def test_the_left_operand():
    d, x = drawn()
    assert reason(d, d.op("MatMul", d.weight("w", N, K), d.op("Transpose", x, perm=[0, 2, 1]))) == "its weight is the left operand"


@pytest.mark.parametrize(
    ("k", "extra", "says"),
    [
        (72, {}, f"its 72 input channels are no multiple of the block of {BLOCK}"),
        (K, {"g_idx": True}, "its input channels are reordered (g_idx)"),
        (K, {"bits": 2}, "its weight has 2 bits; 4 and 8 are understood"),
        (K, {"float_zero": True}, "its zero points are f32; packed integers are understood"),
    ],
)
def test_matmulnbits(k, extra, says):
    d = OnnxGraphBuilder()
    x = d.input("x", ["b", "t", k])
    groups, bits = -(-k // BLOCK), extra.get("bits", 4)
    inputs = [d.constant("q", np.zeros((N, groups, BLOCK * bits // 8), np.uint8)), d.constant("s", np.ones((N, groups), np.float32))]
    if "g_idx" in extra:
        inputs += [None, d.constant("g", (np.arange(k) // BLOCK).astype(np.int32))]
    if "float_zero" in extra:
        inputs += [d.constant("z", np.zeros((N, groups), np.float32))]
    assert reason(d, d.op("MatMulNBits", x, *inputs, domain="com.microsoft", K=k, N=N, bits=bits, block_size=BLOCK)) == says


def packed(d, shape, computed=None):
    blob = d.constant("q", d.rng.integers(0, 255, (N, K // BLOCK, BLOCK // 2), dtype=np.uint8).reshape(shape))
    return computed(d, blob) if computed else blob


def nbits(d, x, blob):
    scale = d.constant("s", np.ones((N, K // BLOCK), np.float32))
    return d.op("MatMulNBits", x, blob, scale, domain="com.microsoft", K=K, N=N, bits=4, block_size=BLOCK)


def test_packed_weight_through_reshape():
    """As a table that is shared with an embedding comes; the bytes are the same."""
    weights = []
    for shape in ((N, K // BLOCK, BLOCK // 2), (N, K // 2)):
        d, x = drawn()
        blob = packed(d, shape)
        if len(shape) == 2:
            blob = d.op("Reshape", blob, d.constant("to", np.array([N, K // BLOCK, BLOCK // 2])))
        (match,) = find_sites(open_onnx(d.proto({"y": nbits(d, x, blob)})).graph_model).matches
        weights.append(match.weights[0].dequantized())
    np.testing.assert_array_equal(*weights)


def test_packed_weight_that_is_computed():
    d, x = drawn()
    blob = d.op("Concat", packed(d, (N, K // BLOCK, BLOCK // 2)), axis=0, name="joined")
    assert reason(d, nbits(d, x, blob)) == "its packed weight comes from Concat joined, not from stored integers"


def test_weight_that_is_rounded_on_the_way():
    d, x = drawn()
    text = reason(d, d.op("MatMul", x, d.op("Cast", d.op("Cast", d.weight("w", K, N), to=6), to=1)))
    assert text == "its weight is converted to i32 on the way, which may change it"
    d, x = drawn()
    text = reason(d, d.op("MatMul", x, d.op("Cast", d.op("Cast", d.weight("w", K, N), to=10), to=1)))
    assert text == "its weight is converted to f16 on the way, which may change it"


def test_scale_that_is_transposed():
    """Scales of blocks, stored the other way round: square, so that the shape tells nothing."""
    groups = 4
    scale = np.arange(groups * groups, dtype=np.float32).reshape(groups, groups) + 1
    d = OnnxGraphBuilder()
    x = d.input("x", ["b", "t", K])
    raw = d.constant("q", np.ones((K, groups), np.int8))
    turned = d.op("Transpose", d.constant("s", scale), perm=[1, 0])
    y = d.op("MatMul", x, d.op("DequantizeLinear", raw, turned, axis=0, block_size=K // groups))
    (match,) = find_sites(open_onnx(d.proto({"y": y})).graph_model).matches
    np.testing.assert_array_equal(match.weights[0].dequantized(), np.repeat(scale.T, K // groups, axis=0).T)


def odd_layer(d, x, form):
    """A layer whose weight, or its scale, holds infinity in one place."""
    odd = np.ones((K, N), np.float32)
    odd[3, 2] = np.inf
    if form == "f32":
        return d.op("MatMul", x, d.constant("w", odd))
    if form == "f16":
        return d.op("MatMul", x, d.op("Cast", d.constant("w", odd.astype(np.float16)), to=1))
    if form == "bf16":
        return d.op("MatMul", x, d.op("Cast", d.constant("w", (odd.view(np.uint32) >> 16).astype(np.uint16), ir.DataType.BFLOAT16), to=1))
    scales = np.ones((N, K // BLOCK), np.float32)
    scales[2, 1] = np.nan
    if form == "MatMulNBits":
        blob = packed(d, (N, K // BLOCK, BLOCK // 2))
        return d.op("MatMulNBits", x, blob, d.constant("s", scales), domain="com.microsoft", K=K, N=N, bits=4, block_size=BLOCK)
    raw = d.constant("q", np.ones((K, N), np.int8))
    return d.op("MatMul", x, d.op("DequantizeLinear", raw, d.constant("s", scales.T), axis=0, block_size=BLOCK))


@pytest.mark.parametrize("form", ["f32", "f16", "bf16", "MatMulNBits", "DequantizeLinear"])
def test_weights_and_scales_that_are_not_finite(form):
    d, x = drawn()
    assert reason(d, odd_layer(d, x, form)) == f"its {'weight' if 'f' in form else 'scale'} holds NaN or infinity"
