"""Pack weights into the rows that scap_ov::SparseMatMul reads, and unpack them: lossless, in numpy, without the library.

docs/packing.md draws the layouts. One module per format of `src/formats/format_list.inc`; a test compares both lists.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from scap_ov.custom_ops.formats import bf16, f16, f32, u4, u8
from scap_ov.custom_ops.formats.base import COLUMN_BLOCK, padded_columns
from scap_ov.errors import UsageError

FORMATS: dict[str, ModuleType] = {"u4": u4, "u8": u8, "f16": f16, "bf16": bf16, "f32": f32}
_SIGNED = {"i4": ("u4", 8), "i8": ("u8", 128)}  # stored as value + offset
WEIGHT_TYPES = (*FORMATS, *_SIGNED)

__all__ = ["COLUMN_BLOCK", "FORMATS", "WEIGHT_TYPES", "pack", "packed_row_bytes", "padded_columns", "unpack"]


def pack(weights: np.ndarray, weight_type: str) -> np.ndarray:
    """Pack the stored values of a weight.

    :param weights: [N, K], uint8 for u4 and u8, int8 for i4 and i8, float16, float32, and the bits of bf16 as uint16.
    :param weight_type: one of WEIGHT_TYPES.
    :return: uint8 [K, row_bytes]; rows of input channels, output channels padded with zero bits to a multiple of 64.
    :raises UsageError: the type is unknown or the array is not of it.
    """
    module, offset = _format(weight_type)
    weights = np.asarray(weights)
    wanted = np.dtype(np.int8) if offset else module.DTYPE
    if weights.ndim != 2 or weights.dtype != wanted:
        msg = f"{weight_type} weights are packed from {wanted} [N, K], got {weights.dtype} {list(weights.shape)}"
        raise UsageError(msg)
    if module is u4 and weights.size and (int(weights.min()) < -offset or int(weights.max()) > 15 - offset):
        msg = f"{weight_type} weights lie in {-offset} … {15 - offset}, got {int(weights.min())} … {int(weights.max())}"
        raise UsageError(msg)
    return module.pack(weights, offset)  # type: ignore[no-any-return]


def unpack(packed: np.ndarray, weight_type: str, n: int) -> np.ndarray:
    """Inverse of `pack`, bit for bit.

    :param packed: uint8 [K, row_bytes].
    :param n: output channels without padding.
    :return: [N, K] in the type that `pack` takes.
    :raises UsageError: the type is unknown or the rows have another length.
    """
    module, offset = _format(weight_type)
    packed = np.asarray(packed)
    expected = packed_row_bytes(weight_type, n)
    if packed.ndim != 2 or packed.dtype != np.uint8 or packed.shape[1] != expected:
        msg = f"packed {weight_type} weights of {n} output channels are uint8 [K, {expected}], got {packed.dtype} {list(packed.shape)}"
        raise UsageError(msg)
    return module.unpack(packed, n, offset)  # type: ignore[no-any-return]


def packed_row_bytes(weight_type: str, n: int) -> int:
    """Bytes of one packed row of n output channels, a multiple of 64."""
    return int(_format(weight_type)[0].row_bytes(padded_columns(n)))


def _format(weight_type: str) -> tuple[ModuleType, int]:
    name, offset = _SIGNED.get(weight_type, (weight_type, 0))
    if name not in FORMATS:
        msg = f"weight type {weight_type!r} is unknown; give one of {', '.join(WEIGHT_TYPES)}"
        raise UsageError(msg)
    return FORMATS[name], offset
