"""Read the weight of a fully connected layer of an ONNX graph.

MatMul, FusedMatMul     initializer [K, N], through Transpose, Cast or Identity
Gemm                    initializer [K, N], or [N, K] with transB; alpha is no part of the weight, as in the OpenVINO model of the same file
DequantizeLinear        int8, uint8, int4, uint4 before any of these, one scale per output channel or per block of input channels
MatMulNBits             uint8 [N, G, block bytes], 4 and 8 bits
"""

from __future__ import annotations

import numpy as np
import openvino as ov

from scap_ov.passes.onnx.graph_view import NodeView, OutputView
from scap_ov.passes.rules.constants import FLOATS, HOLDS, INTEGERS, constant_values
from scap_ov.passes.rules.tensors import constant_origin
from scap_ov.passes.rules.weight_matrix import LeaveStock, NoLayer, WeightMatrix
from scap_ov.sites import WeightSpec

_MOVES = ("Convert", "Transpose")
_ROUNDING = ("i4", "u4", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "boolean")  # what a Cast of a float would cut it to


class PackedConstant:
    """The blob of MatMulNBits as a constant of its real type, u4 or u8, [N, K]."""

    def __init__(self, node: NodeView, dtype: ov.Type) -> None:
        self._node, self._dtype = node, dtype

    def get_element_type(self) -> ov.Type:
        """u4 or u8."""
        return self._dtype

    def outputs(self) -> list[OutputView]:
        """Where its readers are found."""
        return self._node.outputs()

    @property
    def data(self) -> np.ndarray:
        """Packed bytes, element 0 in the low nibble."""
        return self._node.data


def read_weight(layer: NodeView) -> WeightMatrix:
    """The weight of a fully connected layer.

    :param layer: a MatMul, Gemm, FusedMatMul or MatMulNBits.
    :raises NoLayer: both inputs are activations, or both constant.
    :raises LeaveStock: it is a layer, of a form that cannot be pruned; the text is the reason.
    """
    if layer.onnx is not None and layer.onnx.op_type == "MatMulNBits":
        return _read_nbits(layer)
    constant = [constant_origin(layer.input_value(port)) is not None for port in (0, 1)]
    if constant[0] == constant[1]:
        raise NoLayer
    shape = layer.get_input_partial_shape(0 if constant[0] else 1)
    if shape.is_dynamic:
        msg = f"its weight has the dynamic shape {shape}"
        raise LeaveStock(msg)
    sizes = list(shape.to_shape())
    if constant[0]:
        if len(sizes) == 2:
            msg = "its weight is the left operand"
            raise LeaveStock(msg)
        raise NoLayer  # a table of frequencies, not a layer
    if _flag(layer, "transA") or _flag(layer, "transBatchA") or _flag(layer, "transBatchB"):
        msg = "its input is transposed"
        raise LeaveStock(msg)
    if len(sizes) != 2:
        msg = (
            f"its weight has the shape {sizes}, one matrix for each expert or head"
            if len(sizes) > 2
            else f"its weight is a vector, {sizes}"
        )
        raise LeaveStock(msg)
    by_output = bool(_flag(layer, "transB"))
    n, k = sizes if by_output else sizes[::-1]
    value, turned = _peel(layer.input_value(1))
    return _read(value, n, k, by_input=by_output == turned)


def _read(value: OutputView, n: int, k: int, *, by_input: bool) -> WeightMatrix:
    node = value.get_node()
    if node.onnx is not None and node.onnx.op_type == "DequantizeLinear":
        return _read_dequantized(node, n, k, by_input=by_input)
    if node.get_type_name() != "Constant":
        msg = f"its weight goes through {node.get_type_name()}, which is not understood as a decompression"
        raise LeaveStock(msg)
    dtype = node.get_element_type().get_type_name()
    if dtype not in FLOATS:
        msg = f"its weight is {dtype} without a scale" if dtype in INTEGERS else f"its weight is {dtype}, for which there is no kernel"
        raise LeaveStock(msg)
    return WeightMatrix(WeightSpec(dtype), n, k, node, by_input, None, None)


def _read_dequantized(node: NodeView, n: int, k: int, *, by_input: bool) -> WeightMatrix:
    raw = node.input_value(0).get_node()
    if raw.get_type_name() != "Constant":
        msg = f"its weight is dequantised from {raw.get_type_name()}, not from stored integers"
        raise LeaveStock(msg)
    dtype = raw.get_element_type().get_type_name()
    if dtype not in INTEGERS:
        msg = f"its weight is {dtype}, for which there is no kernel"
        raise LeaveStock(msg)
    scale, scale_dtype = _constant(node.input_value(1), "scale")
    zero = _constant(node.input_value(2), "zero point")[0] if len(node.sources) > 2 and node.sources[2] is not None else None
    channel_axis, axis, block = (1 if by_input else 0), int(_flag(node, "axis", 1)) % 2, int(_flag(node, "block_size"))
    if block:
        if axis == channel_axis or k % block:
            msg = f"its scales are of blocks of {block} along axis {axis}; blocks of input channels that divide {k} are understood"
            raise LeaveStock(msg)
        group, target = block, ([k // block, n] if by_input else [n, k // block])
    else:
        if scale.size > 1 and axis != channel_axis:
            msg = "it has a scale for each input channel; one for each output channel is understood"
            raise LeaveStock(msg)
        group, target = k, ([1, n] if by_input else [n, 1])
    scales = _per_group(scale, target, by_input=by_input, what="scale").astype(np.float32)
    zeros = None if zero is None else _per_group(zero, target, by_input=by_input, what="zero point").astype(np.int16)
    return WeightMatrix(WeightSpec(dtype, group, scale_dtype, zeros is not None), n, k, raw, by_input, scales, zeros)


def _read_nbits(layer: NodeView) -> WeightMatrix:
    k, n, block, bits = (int(_flag(layer, name)) for name in ("K", "N", "block_size", "bits"))
    bits = bits or 4
    if bits not in (4, 8):
        msg = f"its weight has {bits} bits; 4 and 8 are understood"
        raise LeaveStock(msg)
    if k % block:
        msg = f"its {k} input channels are no multiple of the block of {block}"
        raise LeaveStock(msg)
    given = [port < len(layer.sources) and layer.sources[port] is not None for port in range(5)]
    if given[4]:
        msg = "its input channels are reordered (g_idx)"
        raise LeaveStock(msg)
    blob = _unshaped(layer.input_value(1))
    if blob.get_type_name() != "Constant":
        msg = f"its packed weight comes from {blob.get_type_name()} {blob.get_friendly_name()}, not from stored integers"
        raise LeaveStock(msg)
    scale, scale_dtype = _constant(layer.input_value(2), "scale")
    if scale_dtype not in FLOATS:
        msg = f"its scale is {scale_dtype}; f16, f32 and bf16 are understood"
        raise LeaveStock(msg)
    groups = k // block
    zeros = np.full((n, groups), 1 << (bits - 1), np.int16)
    if given[3]:
        zeros = _nbits_zero_points(layer.input_value(3), n, groups, bits)
    constant = PackedConstant(blob, ov.Type.u4 if bits == 4 else ov.Type.u8)
    spec = WeightSpec(f"u{bits}", block, scale_dtype, has_zero_point=True)
    return WeightMatrix(spec, n, k, constant, False, scale.reshape(n, groups).astype(np.float32), zeros)  # type: ignore[arg-type]


def _nbits_zero_points(value: OutputView, n: int, groups: int, bits: int) -> np.ndarray:
    """Packed like the weight, each output channel from a whole byte on; int16 [N, G]."""
    node = _unshaped(value)
    if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.u8:
        msg = f"its zero points are {node.get_element_type().get_type_name()}; packed integers are understood"
        raise LeaveStock(msg)
    packed = node.data.reshape(n, -1)
    if bits == 4:
        packed = np.stack([packed & 15, packed >> 4], axis=-1).reshape(n, -1)
    return packed[:, :groups].astype(np.int16)


def _unshaped(value: OutputView) -> NodeView:
    """The node that packed bytes come from, through what keeps their order: Reshape, Identity, Squeeze, Unsqueeze."""
    node = value.get_node()
    while node.get_type_name() in ("Reshape", "Squeeze", "Unsqueeze") or (node.onnx is not None and node.onnx.op_type == "Identity"):
        node = node.input_value(0).get_node()
    return node


def _per_group(values: np.ndarray, target: list[int], *, by_input: bool, what: str) -> np.ndarray:
    """Spread scales or zero points to [N, G]."""
    single = target[0] == 1 if by_input else target[1] == 1
    if values.ndim == 1 and values.size > 1 and single:
        values = values.reshape(target)
    try:
        full = np.broadcast_to(values, target)
    except ValueError:
        msg = f"its {what} of shape {list(values.shape)} is not one per output channel and block of input channels, {target}"
        raise LeaveStock(msg) from None
    return np.ascontiguousarray(full.T if by_input else full)


def _peel(value: OutputView) -> tuple[OutputView, bool]:
    """Go up through Cast, Identity and a swap of the two axes. :return: the value above, and whether it was swapped.

    :raises LeaveStock: a Cast to integers, or to a narrower float than is computed in, stands in between, which may change values.
    """
    turned, own = False, value.get_element_type().get_type_name()
    while value.get_node().get_type_name() in _MOVES:
        node = value.get_node()
        dtype = node.get_element_type().get_type_name()
        source = node.input_value(0).get_element_type().get_type_name() if node.get_type_name() == "Convert" else dtype
        if source != dtype and (dtype in _ROUNDING or dtype not in (own, *HOLDS.get(source, (dtype,)))):
            msg = f"its weight is converted to {dtype} on the way, which may change it"
            raise LeaveStock(msg)
        if node.get_type_name() == "Transpose":
            perm = list(node.onnx.attributes["perm"].as_ints()) if node.onnx is not None and "perm" in node.onnx.attributes else [1, 0]
            turned ^= perm == [1, 0]
        value = node.input_value(0)
    return value, turned


def _constant(value: OutputView, what: str) -> tuple[np.ndarray, str]:
    above, turned = _peel(value)
    try:
        values, dtype = constant_values(above)  # type: ignore[arg-type]
    except ValueError as e:
        msg = f"its {what} is computed ({e})"
        raise LeaveStock(msg) from None
    return values.T if turned else values, dtype


def depends_on_constants(value: OutputView) -> bool:
    """Whether a value is computed from constants alone."""
    return constant_origin(value) is not None


def _flag(node: NodeView, name: str, default: int = 0) -> int:
    """An integer attribute."""
    found = node.onnx.attributes.get(name) if node.onnx is not None else None
    return found.as_int() if found is not None else default
