"""Values of Constant nodes in numpy, 4-bit and bfloat16 ones too, and the way back."""

from __future__ import annotations

import numpy as np
import openvino as ov

from scap_ov.mapped_pages import let_go

# Float types that hold every value of another.
HOLDS = {"f32": ("f32", "f64"), "f16": ("f16", "f32", "f64"), "bf16": ("bf16", "f32", "f64")}
FLOATS = ("f32", "f16", "bf16")
INTEGERS = {"u8": (0, 255), "i8": (-128, 127), "u4": (0, 15), "i4": (-8, 7)}  # element type -> range
# Bits that are all set in NaN and infinity, and in nothing else, as an integer of the type's width.
_EXPONENTS = {"f64": np.uint64(0x7FF << 52), "f32": np.uint32(0xFF << 23), "f16": np.uint16(0x1F << 10), "bf16": np.uint16(0xFF << 7)}
_AT_ONCE, _LARGE = 1 << 17, 1 << 22  # elements whose exponents stay in a core's cache; bytes worth letting go
_PAIRS_AT_ONCE = 1 << 16  # what is made of them stays in a core's cache: 6.5 -> 1.3 s for the weights of 3 billion parameters


def unpack_integers(constant: ov.Node, start: int, stop: int) -> np.ndarray:
    """Elements [start, stop) of a u4 or i4 constant, uint8 or int8; element 0 is in the low nibble."""
    packed = np.asarray(constant.data).reshape(-1).view(np.uint8)[start // 2 : (stop + 1) // 2]
    pairs = np.empty(len(packed), "<u2")  # the first of two values in the low byte
    signed = constant.get_element_type() == ov.Type.i4
    for first in range(0, len(packed), _PAIRS_AT_ONCE):
        some = packed[first : first + _PAIRS_AT_ONCE].astype(np.uint16)
        some |= some << 4
        some &= 0x0F0F
        if signed:
            some |= (some & 0x0808) * np.uint16(0x1E)  # 8 · 0x1E = 0xF0, the high bits of a negative byte
        pairs[first : first + _PAIRS_AT_ONCE] = some
    return pairs.view(np.int8 if signed else np.uint8)[start % 2 :][: stop - start]


def float_values(constant: ov.Node) -> np.ndarray:
    """Stored values of a float constant: float32, float16, or the bits of bf16 as uint16."""
    data = np.asarray(constant.data)
    return data.view(np.uint16) if constant.get_element_type() == ov.Type.bf16 else data


def is_finite(constant: ov.Node) -> bool:
    """Whether a constant of a float type (f64, f32, f16, bf16) holds neither NaN nor infinity; of another type it is."""
    exponent = _EXPONENTS.get(constant.get_element_type().get_type_name())
    if exponent is None:
        return True
    bits = float_values(constant).reshape(-1).view(exponent.dtype)
    parts = (bits[start : start + _AT_ONCE] & exponent for start in range(0, len(bits), _AT_ONCE))
    finite = all(part.max() != exponent for part in parts)
    if bits.nbytes > _LARGE:
        let_go(np.asarray(constant.data))
    return finite


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
    put_values(tensor, values, dtype)
    return ov.op.Constant(tensor)


def put_values(tensor: ov.Tensor, values: np.ndarray, dtype: str) -> None:
    """Fill a tensor; the parameters are those of `typed_constant`."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if dtype in ("u4", "i4"):
        nibbles = flat.view(np.uint8) if flat.dtype.itemsize == 1 else flat.astype(np.int16).astype(np.uint8)
        nibbles = np.concatenate([nibbles, np.zeros(flat.size % 2, np.uint8)]) if flat.size % 2 else nibbles
        raw = _joined(nibbles.view("<u2"))
    elif dtype == "bf16":
        raw = (flat if flat.dtype == np.uint16 else (flat.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8)
    else:
        raw = flat.astype({"u8": np.uint8, "i8": np.int8, "f32": np.float32, "f16": np.float16}[dtype]).view(np.uint8)
    if raw.size:
        tensor.data.reshape(-1).view(np.uint8)[:] = raw


def _joined(pairs: np.ndarray) -> np.ndarray:
    """Two values in the bytes of each uint16, the first in the low one -> their nibbles in one byte, uint8."""
    raw = np.empty(len(pairs), np.uint8)
    for first in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[first : first + _PAIRS_AT_ONCE] & np.uint16(0x0F0F)
        raw[first : first + _PAIRS_AT_ONCE] = some | some >> 4  # numpy drops the high byte
    return raw
