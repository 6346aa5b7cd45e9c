"""Values of constants in numpy and back."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from scap_ov.passes.rules.constants import INTEGERS, constant_values, typed_constant, unpack_integers


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("shape", [[3, 5], [2, 2, 7], [1], [16]])
def test_integers_come_back(dtype, shape):
    low, high = INTEGERS[dtype]
    values = np.random.default_rng(0).integers(low, high + 1, shape).astype(np.int16)
    constant = typed_constant(values, shape, dtype)
    assert constant.get_element_type().get_type_name() == dtype
    actual, name = constant_values(constant.output(0))
    assert name == dtype
    np.testing.assert_array_equal(actual, values)


@pytest.mark.parametrize(("dtype", "exact"), [("f32", np.float32), ("f16", np.float16)])
def test_floats_come_back(dtype, exact):
    values = np.random.default_rng(0).standard_normal((4, 3)).astype(exact)
    np.testing.assert_array_equal(constant_values(typed_constant(values, [4, 3], dtype).output(0))[0], values)


def test_bf16_comes_back_from_bits_and_from_float32():
    values = np.array([1.5, -2.0, 0.0078125, 3e38], np.float32)
    values = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    for given in (values, bits):
        np.testing.assert_array_equal(constant_values(typed_constant(given, [4], "bf16").output(0))[0], values)


@pytest.mark.parametrize("dtype", ["u4", "i4"])
@pytest.mark.parametrize(("start", "stop"), [(0, 35), (1, 4), (2, 3), (7, 7), (5, 34), (34, 35)])
def test_any_stretch_of_nibbles(dtype, start, stop):
    low, high = INTEGERS[dtype]
    values = np.random.default_rng(0).integers(low, high + 1, 35).astype(np.int16)
    np.testing.assert_array_equal(unpack_integers(typed_constant(values, [35], dtype), start, stop), values[start:stop])


@pytest.mark.parametrize("dtype", ["u4", "i4"])
def test_nibbles_are_taken_apart_and_joined_some_at_a_time(dtype):
    low, high = INTEGERS[dtype]
    values = np.random.default_rng(0).integers(low, high + 1, 2 * 65_536 * 2 + 3).astype(np.int8)
    constant = typed_constant(values, [len(values)], dtype)
    for start, stop in ((0, len(values)), (1, 2 * 65_536 + 2)):
        np.testing.assert_array_equal(unpack_integers(constant, start, stop), values[start:stop])


def test_the_same_values_as_openvino_sees():
    """Against OpenVINO's own conversion: nibble order and sign are not only our own idea of them."""
    for dtype in ("u4", "i4", "u8", "i8", "bf16", "f16"):
        values = np.arange(-8, 8) if dtype == "i4" else np.arange(16)
        constant = typed_constant(values.astype(np.float32), [16], dtype)
        model = ov.Model([ops.result(ops.convert(constant, np.float32))], [], "c")
        np.testing.assert_array_equal(ov.Core().compile_model(model, "CPU")({})[0], values)


def test_seen_through_convert_and_reshape():
    constant = typed_constant(np.arange(6), [6], "u4")
    value = ops.reshape(ops.convert(constant, np.float32), np.array([2, 3]), special_zero=False)
    values, dtype = constant_values(value.output(0))
    np.testing.assert_array_equal(values, np.arange(6).reshape(2, 3))
    assert dtype == "u4"


def test_a_computed_value_is_refused():
    with pytest.raises(ValueError, match="is no constant but a Parameter"):
        constant_values(ops.convert(ops.parameter([2], np.float32), np.float16).output(0))
