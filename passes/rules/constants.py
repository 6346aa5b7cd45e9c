"""Values of Constant nodes in numpy, 4-bit and bfloat16 ones too, and the way back."""

from __future__ import annotations

import numpy as np
import openvino as ov

FLOATS = ("f32", "f16", "bf16")
INTEGERS = {"u8": (0, 255), "i8": (-128, 127), "u4": (0, 15), "i4": (-8, 7)}  # element type -> range


def unpack_integers(constant: ov.Node, start: int, stop: int) -> np.ndarray:
    """Elements [start, stop) of a u4 or i4 constant, uint8 or int8; element 0 is in the low nibble."""
    packed = np.asarray(constant.data).reshape(-1).view(np.uint8)[start // 2 : (stop + 1) // 2]
    values = np.empty(2 * len(packed), np.uint8)
    values[0::2], values[1::2] = packed & 15, packed >> 4
    values = values[start % 2 :][: stop - start]
    if constant.get_element_type() == ov.Type.i4:
        return ((values ^ 8).view(np.int8) - np.int8(8)).astype(np.int8, copy=False)
    return values


def float_values(constant: ov.Node) -> np.ndarray:
    """Stored values of a float constant: float32, float16, or the bits of bf16 as uint16."""
    data = np.asarray(constant.data)
    return data.view(np.uint16) if constant.get_element_type() == ov.Type.bf16 else data


def constant_values(value: ov.Output) -> tuple[np.ndarray, str]:
    """A constant seen through Convert and Reshape, as float64 in the shape that `value` has, and the type it is stored in.

    :raises ValueError: the value is not such a constant.
    """
    node = value.get_node()
    while node.get_type_name() in ("Convert", "Reshape", "Squeeze", "Unsqueeze"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        msg = f"{value.get_node().get_friendly_name()} is no constant but a {node.get_type_name()}"
        raise ValueError(msg)
    dtype = node.get_element_type()
    name = dtype.get_type_name()
    if name in ("u4", "i4"):
        flat = unpack_integers(node, 0, int(np.prod(node.shape)))
    elif dtype == ov.Type.bf16:
        flat = (float_values(node).astype(np.uint32) << 16).view(np.float32)
    else:
        flat = np.asarray(node.data)
    return flat.astype(np.float64).reshape(list(value.get_partial_shape().to_shape())), name


def typed_constant(values: np.ndarray, shape: list[int], dtype: str) -> ov.Node:
    """A Constant of any element type.

    :param values: integers in the type's range; float32 or float16; for bf16 its bits as uint16 or exactly representable float32.
    :param dtype: u4, i4, u8, i8, f32, f16 or bf16.
    """
    tensor = ov.Tensor(getattr(ov.Type, dtype), ov.Shape(shape))
    flat = np.ascontiguousarray(values).reshape(-1)
    if dtype in ("u4", "i4"):
        nibbles = flat.view(np.uint8) if flat.dtype.itemsize == 1 else flat.astype(np.int16).astype(np.uint8)
        nibbles = np.concatenate([nibbles, np.zeros(flat.size % 2, np.uint8)]) if flat.size % 2 else nibbles
        pairs = nibbles.view("<u2")  # the first of two values in the low byte
        raw = (pairs & 15 | pairs >> 4 & 240).astype(np.uint8)
    elif dtype == "bf16":
        raw = (flat if flat.dtype == np.uint16 else (flat.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8)
    else:
        raw = flat.astype({"u8": np.uint8, "i8": np.int8, "f32": np.float32, "f16": np.float16}[dtype]).view(np.uint8)
    if raw.size:
        tensor.data.reshape(-1).view(np.uint8)[:] = raw
    return ov.op.Constant(tensor)
