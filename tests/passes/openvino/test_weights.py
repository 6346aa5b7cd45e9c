"""Every weight form is read as what it stands for; what cannot be pruned is told with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from weight_forms import FORMS, PER_CHANNEL, OddNumbers, matmul, store

from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.weights import read_weight
from scap_ov.passes.rules.constants import typed_constant
from scap_ov.passes.rules.weight_matrix import LeaveStock, NoLayer, product
from scap_ov.sites import WeightSpec

K, N = 256, 20


def layer(value, k=K, *, transpose_b=True, transpose_a=False, rank=3):
    x = ops.parameter(ov.PartialShape([-1] * (rank - 1) + [k]), np.float32)
    return ops.matmul(x, value, transpose_a, transpose_b)


def read(name, n, k, *, activations="f32"):
    stored = store(n, k, name, np.random.default_rng(3), activations=activations)
    x = ops.parameter(ov.PartialShape([-1, -1, k]), getattr(ov.Type, activations))
    return stored, read_weight(matmul(x, stored, "layer"))


def check(stored, weight, n, k):
    assert weight.shape == (n, k)
    assert weight.spec == stored.form.spec(k)
    raw = weight.raw()
    floats = (raw.astype(np.uint32) << 16).view(np.float32) if weight.spec.dtype == "bf16" else raw
    np.testing.assert_array_equal(floats, stored.raw)
    if stored.scale is None:
        assert weight.scale is None
    else:
        np.testing.assert_array_equal(weight.scale, stored.scale)
    if stored.zero is None:
        assert weight.zero_point is None
    else:
        np.testing.assert_array_equal(weight.zero_point, stored.zero)
    # one product in float32
    np.testing.assert_allclose(weight.dequantized(), stored.dense, rtol=2.0**-23)
    vector = np.random.default_rng(4).standard_normal(k)
    bound = 2.0**-22 * (np.abs(stored.dense) @ np.abs(vector)).max()
    np.testing.assert_allclose(product(weight, vector), stored.dense.astype(np.float64) @ vector, rtol=0, atol=bound)
    np.testing.assert_allclose(product(weight, np.float32([0.5])), 0.5 * stored.dense.sum(1, dtype=np.float64), rtol=0, atol=bound)


@pytest.mark.parametrize("name", ["u4-g32-zp", "i4-g32"])
def test_product_with_a_short_last_group(name):
    _, weight = read(name, N, K)
    short = replace(weight, k=K - 10, padding=10)
    vector = np.random.default_rng(4).standard_normal(K - 10)
    np.testing.assert_allclose(product(short, vector), short.dequantized().astype(np.float64) @ vector, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_form(name):
    check(*read(name, N, K), N, K)


@pytest.mark.parametrize("name", PER_CHANNEL)
def test_odd_sizes(name):
    check(*read(name, 1001, 577), 1001, 577)


@pytest.mark.parametrize("name", ["f16", "f32", "i8", "i4-g32", "u4-g32-f32-zp"])
def test_chain_that_ends_without_convert(name):
    activations = "f32" if name in ("f32", "u4-g32-f32-zp") else "f16"
    check(*read(name, N, K, activations=activations), N, K)


@pytest.mark.parametrize("name", ["u4-g32-zp", "i4-g32-by-input", "bf16", "i8", "f32-by-input"])
def test_some_rows_only(name):
    stored, weight = read(name, N, K)
    np.testing.assert_allclose(weight[3:9], stored.dense[3:9], rtol=2.0**-23)
    np.testing.assert_allclose(np.asarray(weight), stored.dense, rtol=2.0**-23)
    assert len(weight) == N


@pytest.mark.parametrize("by_input", [False, True])
def test_sample_takes_rows_that_are_spread(by_input):
    stored, weight = read("i8-by-input" if by_input else "i8", 10, K)
    np.testing.assert_array_equal(weight.sample(5), stored.raw[::2])
    np.testing.assert_array_equal(weight.sample(100), stored.raw)


def test_one_scale_or_zero_point_for_all():
    raw = typed_constant(np.arange(N * K) % 16, [N, K // 32, 32], "u4")
    value = ops.subtract(ops.convert(raw, np.float16), ops.convert(typed_constant(np.array([8]), [1, 1, 1], "u4"), np.float16))
    value = ops.multiply(value, typed_constant(np.float16(0.5), [], "f16"))
    value = ops.convert(ops.reshape(value, np.array([N, K]), special_zero=False), np.float32)
    weight = read_weight(layer(value))
    assert weight.spec == WeightSpec("u4", 32, "f16", has_zero_point=True)
    np.testing.assert_array_equal(weight.dequantized().reshape(-1), (np.arange(N * K) % 16 - 8) * 0.5)


def test_transpose_node_before_the_layer():
    stored = store(N, K, "i8", np.random.default_rng(0))
    weight = read_weight(layer(ops.transpose(stored.value, np.array([1, 0])), transpose_b=False))
    np.testing.assert_array_equal(weight.raw(), stored.raw)


def test_leading_ones():
    raw = np.random.default_rng(0).integers(-100, 100, (1, N, K)).astype(np.int16)
    value = ops.multiply(ops.convert(typed_constant(raw, [1, N, K], "i8"), np.float32), typed_constant(np.ones(N), [1, N, 1], "f32"))
    np.testing.assert_array_equal(read_weight(layer(value)).raw(), raw[0])


def test_zero_point_as_float_or_of_another_integer_type():
    for dtype in ("f16", "u8"):
        raw = typed_constant(np.arange(N * K) % 16, [N, K], "u4")
        zero = typed_constant(np.full(N, 7), [N, 1], dtype)
        value = ops.subtract(ops.convert(raw, np.float16), ops.convert(zero, np.float16))
        weight = read_weight(layer(ops.convert(ops.multiply(value, np.float16(1)), np.float32)))
        np.testing.assert_array_equal(weight.zero_point, np.full((N, 1), 7))


def _i8(shape):
    return ops.convert(typed_constant(np.ones(shape), list(shape), "i8"), np.float32)


def _stock_cases():
    f32 = np.float32
    return {
        "batched": (layer(ops.multiply(_i8((4, N, K)), f32(1))), r"batched, \[4, 20, 256\]: one matrix for each of 4 experts or heads"),
        "vector": (layer(ops.constant(np.ones(K, f32)), transpose_b=False), r"its weight is a vector, \[256\]"),
        "transposed input": (ops.matmul(ops.parameter([-1, K, 4], f32), np.ones((N, K), f32), True, True), "its input is transposed"),
        "left operand": (ops.matmul(np.ones((N, K), f32), ops.parameter([-1, K, 4], f32), False, False), "its weight is the left operand"),
        "no scale": (layer(_i8((N, K))), "its i8 weight has no scale"),
        "float with a scale": (layer(ops.multiply(ops.convert(ops.constant(np.ones((N, K), np.float16)), f32), np.ones((N, 1), f32))),
                               "its f16 weight has a scale"),
        "function": (layer(ops.relu(ops.constant(np.ones((N, K), f32)))), "goes through Relu, which is not understood"),
        "scale per element": (layer(ops.multiply(_i8((N, K)), np.ones((N, K), f32))), r"its scale of shape \[20, 256\] is not one per"),
        "scale per input": (layer(ops.multiply(_i8((N, K)), np.ones((1, K), f32))), r"its scale of shape \[1, 256\] is not one per output"),
        "computed scale": (layer(ops.multiply(_i8((N, K)), ops.relu(ops.constant(np.ones((N, 1), f32))))), "its scale is computed"),
        "fractional zero point": (layer(ops.multiply(ops.subtract(_i8((N, K)), f32(0.5)), f32(1))), "its zero point is not an integer"),
        "large zero point": (layer(ops.multiply(ops.subtract(_i8((N, K)), f32(200)), f32(1))), "out of the range of i8, -128 to 127"),
        "shuffled groups": (layer(ops.reshape(ops.multiply(_i8((K, N)), f32(1)), np.array([N, K]), special_zero=False)),
                            r"its stored weight of shape \[256, 20\] is no matrix of 20 outputs and 256 inputs"),
        "permuted": (layer(ops.reshape(ops.transpose(_i8((2, N // 2, K)), np.array([1, 0, 2])), np.array([N, K]), special_zero=False)),
                     "neither by input nor by output channel: Transpose and Reshape mix them"),
    }  # fmt: skip


@pytest.mark.parametrize("case", _stock_cases())
def test_left_stock_with_the_reason(case):
    node, reason = _stock_cases()[case]
    with pytest.raises(LeaveStock, match=reason):
        read_weight(node)


@pytest.mark.parametrize("dtype", ["nf4", "f4e2m1", "f8e4m3", "f8e5m2", "u2", "u1"])
def test_element_type_without_kernel_is_left_stock(dtype):
    tensor = ov.Tensor(getattr(ov.Type, dtype), ov.Shape([N, K]))
    value = ops.multiply(ops.convert(ov.op.Constant(tensor), np.float32), np.ones((N, 1), np.float32))
    with pytest.raises(LeaveStock, match=f"its weight is {dtype}, for which there is no kernel"):
        read_weight(layer(value))


def test_scale_of_another_type_is_left_stock():
    scale = ops.convert(typed_constant(np.ones(N), [N, 1], "u8"), np.float32)
    with pytest.raises(LeaveStock, match="its scale is u8"):
        read_weight(layer(ops.multiply(_i8((N, K)), scale)))


def test_products_of_activations_or_of_constants_are_no_layers():
    x = ops.parameter([2, 3, K], np.float32)
    constant = ops.constant(np.ones((N, K), np.float32))
    for node in (ops.matmul(x, x, False, True), ops.matmul(constant, constant, False, True)):
        with pytest.raises(NoLayer):
            read_weight(node)
    frequencies = ops.constant(np.ones((1, 8, 1), np.float32))  # of rotary embeddings: no layer, and no reason to tell anyone
    with pytest.raises(NoLayer):
        read_weight(ops.matmul(frequencies, ops.parameter([1, 1, 5], np.float32), False, False))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", FORMS)
def test_weights_and_scales_that_are_not_finite_are_left_stock(form, odd):
    x = ops.parameter(ov.PartialShape([-1, -1, K]), np.float32)
    good, bad = (matmul(x, store(N, K, form, rng), name) for rng, name in ((np.random.default_rng(0), "good"), (OddNumbers(odd), "bad")))
    found = find_sites(ov.Model([ops.result(good), ops.result(bad)], [x], "m"))
    assert [layer.get_friendly_name() for match in found.matches for layer in match.matmuls] == ["good"]
    part = "weight" if FORMS[form].dtype in ("f32", "f16", "bf16") else "scale"
    assert found.skipped == [("bad", f"its {part} holds NaN or infinity")]


def test_the_largest_and_the_smallest_numbers_are_finite():
    for dtype, values in (("f32", np.finfo(np.float32)), ("f16", np.finfo(np.float16)), ("bf16", np.array([0x7F7F, 0xFF7F, 1], np.uint16))):
        edge = values if isinstance(values, np.ndarray) else np.array([values.max, values.min, values.smallest_subnormal], values.dtype)
        weight = typed_constant(np.tile(edge, N * K // 2)[: N * K], [N, K], dtype)
        assert read_weight(layer(ops.convert(weight, np.float32))).not_finite() == ""
