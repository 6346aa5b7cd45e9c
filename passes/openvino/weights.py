"""Read the decompression chain that feeds a MatMul's weight.

    Constant [N, K] or [N, G, g] -> Convert -> Subtract(zero point) -> Multiply(scale) -> Reshape [N, K] -> Convert -> MatMul

Every link but the constant may be missing; with transpose_b=False the axes run [K, N] or [G, g, N]. Where the last group is
short, which ONNX knows, a Slice [N, G · g] -> [N, K] follows the Reshape.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov

from scap_ov.passes.openvino.weight_order import KEEPS_ORDER, stored_by_input
from scap_ov.passes.rules.constants import FLOATS, HOLDS, INTEGERS, constant_values
from scap_ov.passes.rules.tensors import constant_origin, unconverted
from scap_ov.passes.rules.weight_matrix import LeaveStock, NoLayer, WeightMatrix
from scap_ov.sites import WeightSpec

_HOLD_INTEGERS = ("i16", "i32", "i64", "f16", "bf16", "f32", "f64")  # types that hold every value of INTEGERS


def read_weight(matmul: ov.Node) -> WeightMatrix:
    """The weight of a fully connected layer.

    :param matmul: a MatMul node.
    :raises NoLayer: both inputs are activations, or both constant.
    :raises LeaveStock: it is a layer, of a form that cannot be pruned or packed; the text is the reason.
    """
    constant_inputs = [constant_origin(matmul.input_value(port)) is not None for port in (0, 1)]
    if constant_inputs[0] == constant_inputs[1]:
        raise NoLayer
    attributes = matmul.get_attributes()
    if constant_inputs[0]:
        if len(constant_origin(matmul.input_value(0)).shape) == 2:  # type: ignore[union-attr]
            msg = "its weight is the left operand"
            raise LeaveStock(msg)
        raise NoLayer  # a table of frequencies, not a layer
    if attributes["transpose_a"]:
        msg = "its input is transposed (transpose_a)"
        raise LeaveStock(msg)
    shape = _static(matmul.input_value(1), "weight")
    if int(np.prod(shape[:-2])) > 1:
        msg = f"its weight is batched, {shape}: one matrix for each of {shape[0]} experts or heads"
        raise LeaveStock(msg)
    if len(shape) < 2:
        msg = f"its weight is a vector, {shape}"
        raise LeaveStock(msg)
    value, turned = _peel(matmul.input_value(1))
    n, k = (shape[-2], shape[-1]) if attributes["transpose_b"] else (shape[-1], shape[-2])
    padded = _before_cut(value.get_node(), k)
    if padded:
        value, turned_again = _peel(value.get_node().input_value(0))
        turned ^= turned_again
    expected = (not attributes["transpose_b"]) != turned
    try:
        by_input = stored_by_input(
            matmul.input_value(1), value, n, k, by_output=attributes["transpose_b"], padding=max(padded - k, 0), expected=expected
        )
    except ValueError as e:
        raise LeaveStock(str(e)) from None
    weight = _read(value, n, padded or k, by_input)
    _refuse_rounding(matmul.input_value(1), weight)
    return replace(weight, k=k, padding=padded - k) if padded else weight


def _refuse_rounding(value: ov.Output, weight: WeightMatrix) -> None:
    """Values that are stored are those that are multiplied: no Convert on the way may cut them.

    The type that the product is computed in may be narrower; its rounding is the product's own.
    """
    harmless = {value.get_element_type().get_type_name(), *HOLDS.get(weight.spec.dtype, _HOLD_INTEGERS)}
    while (node := value.get_node()).get_type_name() != "Constant":
        dtype = node.get_output_element_type(0).get_type_name()
        if node.get_type_name() == "Convert" and dtype not in harmless:
            msg = f"its {weight.spec.dtype} weight is converted to {dtype} on the way, which may change it"
            raise LeaveStock(msg)
        value = _operands(node, "scale")[0] if node.get_type_name() == "Multiply" else node.input_value(0)


def read_experts(matmul: ov.Node) -> WeightMatrix:
    """The weights [E, N, K] of a batched product as one matrix [E · N, K]: expert e has the rows from e · N on.

    :param matmul: a MatMul with transpose_b whose right operand has three dimensions.
    :raises LeaveStock: it is of a form that cannot be pruned or packed; the text is the reason.
    """
    if constant_origin(matmul.input_value(1)) is None:
        msg = "its weight is computed"
        raise LeaveStock(msg)
    experts, n, k = _static(matmul.input_value(1), "weight")
    value, _ = _peel(matmul.input_value(1))
    try:
        by_input = stored_by_input(matmul.input_value(1), value, experts * n, k, by_output=True)
    except ValueError as e:
        raise LeaveStock(str(e)) from None
    if by_input:
        msg = "its weight is stored by input channels"
        raise LeaveStock(msg)
    weight = _read(value, experts * n, k, False, experts)
    _refuse_rounding(matmul.input_value(1), weight)
    return weight


def _before_cut(node: ov.Node, k: int) -> int:
    """The length that a Slice takes the first k of, in the last axis; 0 where the node is none such."""
    if node.get_type_name() != "Slice" or node.get_input_size() != 5:
        return 0
    shape = _static(node.input_value(0), "weight")
    try:
        start, stop, step, axis = (constant_values(node.input_value(port))[0].reshape(-1).tolist() for port in (1, 2, 3, 4))
    except ValueError:
        return 0
    last = axis in ([len(shape) - 1], [-1])
    return shape[-1] if last and (start, stop, step) == ([0], [k], [1]) and shape[-1] > k else 0


def depends_on_constants(value: ov.Output) -> bool:
    """Whether a value is computed from constants alone."""
    return constant_origin(value) is not None


def weight_is_right(matmul: ov.Node) -> bool:
    """Whether the right operand of a MatMul is constant and the left one is not."""
    return constant_origin(matmul.input_value(1)) is not None and constant_origin(matmul.input_value(0)) is None


def _read(value: ov.Output, n: int, k: int, by_input: bool, experts: int = 1) -> WeightMatrix:
    scale = zero = None
    node = value.get_node()
    if node.get_type_name() == "Multiply":
        value, scale = _operands(node, "scale")
        node = unconverted(value).get_node()
        if node.get_type_name() == "Subtract":
            value, zero = _operands(node, "zero point")
    shape = _static(value, "weight")
    node = _stored(value)
    if (kind := node.get_type_name()) != "Constant":
        msg = f"its weight goes through {kind}, which is not understood as a decompression"
        if kind == "Gather":
            msg = "its weight is looked up in a codebook, for which there is no kernel"
        raise LeaveStock(msg)
    dtype = node.get_element_type().get_type_name()
    if dtype in FLOATS:
        if scale is not None:
            msg = f"its {dtype} weight has a scale"
            raise LeaveStock(msg)
        return WeightMatrix(WeightSpec(dtype), n, k, node, by_input, None, None)
    if dtype not in INTEGERS:
        msg = f"its weight is {dtype}, for which there is no kernel"
        raise LeaveStock(msg)
    if scale is None:
        msg = f"its {dtype} weight has no scale"
        raise LeaveStock(msg)
    if experts > 1 and len(shape) < 3:
        msg = f"its stored weight of shape {shape} does not tell the experts apart"
        raise LeaveStock(msg)
    target, group_size = _scale_shape(shape[1:], n // experts, k, by_input) if experts > 1 else _scale_shape(shape, n, k, by_input)
    target = [experts, *target] if experts > 1 else target
    scales, scale_dtype = _scales(scale, target, n, by_input)
    zeros = None if zero is None else _zero_points(zero, target, n, by_input, dtype)
    spec = WeightSpec(dtype, group_size, scale_dtype, zeros is not None)
    return WeightMatrix(spec, n, k, node, by_input, scales, zeros)


def _scale_shape(shape: list[int], n: int, k: int, by_input: bool) -> tuple[list[int], int]:
    """The shape that one value per output channel and group has beside the raw constant, and the group size."""
    if shape[-2:] == ([k, n] if by_input else [n, k]):
        return [1] * (len(shape) - 2) + ([1, n] if by_input else [n, 1]), k
    if len(shape) >= 3:
        lead, (first, middle, last) = [1] * (len(shape) - 3), shape[-3:]
        if not by_input and first == n and middle * last == k:
            return [*lead, n, middle, 1], last
        if by_input and last == n and first * middle == k:
            return [*lead, first, 1, n], middle
    msg = f"its stored weight of shape {shape} is no matrix of {n} outputs and {k} inputs in groups of input channels"
    raise LeaveStock(msg)


def _scales(scale: ov.Output, target: list[int], n: int, by_input: bool) -> tuple[np.ndarray, str]:
    values, dtype = _constant(scale, "scale")
    if dtype not in FLOATS:
        msg = f"its scale is {dtype}; f16, f32 and bf16 are understood"
        raise LeaveStock(msg)
    return _per_group(values, target, n, by_input, "scale"), dtype


def _zero_points(zero: ov.Output, target: list[int], n: int, by_input: bool, dtype: str) -> np.ndarray:
    values, _ = _constant(zero, "zero point")
    grouped = _per_group(values, target, n, by_input, "zero point")
    low, high = INTEGERS[dtype]
    if not np.array_equal(grouped, np.round(grouped)):
        msg = "its zero point is not an integer"
        raise LeaveStock(msg)
    if grouped.min() < low or grouped.max() > high:
        msg = f"its zero point is out of the range of {dtype}, {low} to {high}"
        raise LeaveStock(msg)
    return grouped.astype(np.int16)


def _per_group(values: np.ndarray, target: list[int], n: int, by_input: bool, what: str) -> np.ndarray:
    """Spread a constant to [N, G]."""
    try:
        full = np.broadcast_to(values, target)
    except ValueError:
        msg = f"its {what} of shape {list(values.shape)} is not one per output channel and group of input channels, {target}"
        raise LeaveStock(msg) from None
    return np.ascontiguousarray(full.reshape(-1, n).T if by_input else full.reshape(n, -1)).astype(np.float32)


def _operands(node: ov.Node, what: str) -> tuple[ov.Output, ov.Output]:
    """The chain and the constant of a Multiply or Subtract: the larger one is the chain."""
    left, right = node.input_value(0), node.input_value(1)
    if node.get_type_name() == "Multiply" and np.prod(_static(right, what)) > np.prod(_static(left, what)):
        left, right = right, left
    return left, right


def _peel(value: ov.Output) -> tuple[ov.Output, bool]:
    """Go up through Convert, Reshape and Transpose. :return: the value above, and whether an odd number of Transposes was passed."""
    turned = False
    while True:
        node = value.get_node()
        kind = node.get_type_name()
        if kind == "Transpose":
            _constant(node.input_value(1), "transposition")
            turned = not turned
        elif kind not in KEEPS_ORDER:
            return value, turned
        value = node.input_value(0)


def _constant(value: ov.Output, what: str) -> tuple[np.ndarray, str]:
    try:
        return constant_values(value)
    except ValueError as e:
        msg = f"its {what} is computed ({e})"
        raise LeaveStock(msg) from None


def _stored(value: ov.Output) -> ov.Node:
    """What a value was before all that keeps the order of its elements: weights are stored flat too, as the ONNX reader leaves blocks."""
    while value.get_node().get_type_name() in KEEPS_ORDER:
        value = value.get_node().input_value(0)
    return value.get_node()


def _static(value: ov.Output, what: str) -> list[int]:
    shape = value.get_partial_shape()
    if shape.is_dynamic:
        msg = f"its {what} has the dynamic shape {shape}"
        raise LeaveStock(msg)
    return list(shape.to_shape())
