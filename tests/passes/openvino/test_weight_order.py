"""The place of every element is proved: a weight is read as OpenVINO computes its chain, or left stock with a reason."""

from __future__ import annotations

from functools import reduce
from itertools import product

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from scap_ov.passes.openvino.weight_order import followed_up
from scap_ov.passes.openvino.weights import read_weight
from scap_ov.passes.rules.weight_matrix import LeaveStock

VALUES = np.arange(24 * 32, dtype=np.float32).reshape(24, 32) / 7
STEPS = {
    "T": lambda v: ops.transpose(v, np.arange(len(v.shape))[::-1].copy()) if len(v.shape) == 2 else ops.transpose(v, np.array([0, 2, 1])),
    "48x16": lambda v: ops.reshape(v, np.array([48, 16]), special_zero=False),
    "32x24": lambda v: ops.reshape(v, np.array([32, 24]), special_zero=False),
    "flat": lambda v: ops.reshape(v, np.array([-1]), special_zero=False) if len(v.shape) != 1 else v,
    "1x24x32": lambda v: ops.reshape(v, np.array([1, 24, 32]), special_zero=False),
    "4x6x32": lambda v: ops.reshape(v, np.array([4, 6, 32]), special_zero=False),
}


def chain(names, constant):
    return reduce(lambda value, name: value if name == "T" and len(value.shape) == 1 else STEPS[name](value), names, constant)


def stored_as(dtype):
    if dtype == "f32":
        return ops.constant(VALUES)
    if dtype == "f16":
        return ops.convert(ops.constant(VALUES.astype(np.float16)), np.float32)
    scale = np.float32(0.5) + np.arange(24, dtype=np.float32)[:, None]
    return ops.multiply(ops.convert(ops.constant(VALUES.astype(np.uint8)), np.float32), ops.constant(scale))


@pytest.mark.parametrize("dtype", ["f32", "f16", "u8"])
def test_chains_of_transpose_and_reshape(dtype):
    """All chains of up to three moves: whatever is read is what OpenVINO computes, the plain orders are among it."""
    values = {c: chain(c, stored_as(dtype)) for n in range(4) for c in product(STEPS, repeat=n)}
    values = {names: value for names, value in values.items() if len(value.shape) == 2}
    model = ov.Model([value.output(0) for value in values.values()], [], "weights")
    computed = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([])
    read = set()
    for index, (names, value) in enumerate(values.items()):
        for by_output in (True, False):
            k = value.shape[1 if by_output else 0]
            try:
                got = read_weight(ops.matmul(ops.parameter([-1, -1, k], np.float32), value, False, by_output)).dequantized()
            except LeaveStock:
                continue
            wanted = np.array(computed[index])
            np.testing.assert_array_equal(got, wanted if by_output else wanted.T, err_msg=str((names, by_output)))
            read.add((names, by_output))
    plain = {((), True), (("T",), False), (("T", "T"), True)}
    assert read >= (plain if dtype == "u8" else plain | {((), False), (("T",), True), (("48x16",), True)})


def test_transposed_before_a_cut():
    """A Slice behind a Transpose: the padding is then of another axis than it seems."""
    turned = ops.transpose(ops.constant(VALUES), np.array([1, 0]))  # [32, 24]
    cut = ops.slice(turned, np.array([0]), np.array([20]), np.array([1]), np.array([1]))
    layer = ops.matmul(ops.parameter([-1, -1, 20], np.float32), cut, False, True)
    with pytest.raises(LeaveStock, match="Transpose and Reshape"):
        read_weight(layer)


def test_weight_that_is_rounded_on_the_way():
    whole = ops.convert(ops.convert(ops.constant(VALUES), np.int32), np.float32)
    with pytest.raises(LeaveStock, match="converted to i32"):
        read_weight(ops.matmul(ops.parameter([-1, 32], np.float32), whole, False, True))


@pytest.mark.parametrize("narrow", ["f16", "bf16", "f8e4m3"])
def test_weight_that_is_rounded_to_a_narrower_float(narrow):
    """And made wide again, so that the model multiplies other values than those that are stored; a product in bf16 rounds by itself."""
    rounded = ops.convert(ops.constant(VALUES), narrow)
    wide = ops.matmul(ops.parameter([-1, 32], np.float32), ops.convert(rounded, np.float32), False, True)
    with pytest.raises(LeaveStock, match=f"converted to {narrow}"):
        read_weight(wide)
    own = ops.matmul(ops.parameter([-1, 32], ov.Type.bf16), ops.convert(ops.constant(VALUES), "bf16"), False, True)
    assert read_weight(own).spec.dtype == "f32"


def test_other_nodes_are_no_moves():
    value = ops.relu(ops.constant(VALUES))
    with pytest.raises(ValueError, match="Relu"):
        followed_up(value.output(0), value.input_value(0), np.arange(3))
