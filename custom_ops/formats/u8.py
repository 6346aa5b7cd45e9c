"""u8, and i8 stored as value + 128: byte 64b + p of a row is position p of block b. Twin of src/formats/u8.hpp."""

from __future__ import annotations

import numpy as np

from scap_ov.custom_ops.formats import native
from scap_ov.custom_ops.formats.base import COLUMN_BLOCK, from_position_blocks, padded_columns, position_blocks, row_slices, side_by_side

DTYPE = np.dtype(np.uint8)


def row_bytes(n_padded: int) -> int:
    """Bytes of a row."""
    return n_padded


def pack(weights: np.ndarray, offset: int) -> np.ndarray:
    """[N, K] -> uint8 [K, n_padded]."""
    n, k = weights.shape
    packed = np.empty((k, padded_columns(n)), np.uint8)
    if native.packs(weights):
        native.pack_into(native.Stored([weights], 8, offset), 8, packed)
        return packed

    def some(rows: slice) -> None:
        packed[rows] = position_blocks(weights, offset, rows).reshape(rows.stop - rows.start, -1)

    side_by_side(some, row_slices(k))
    return packed


def unpack(packed: np.ndarray, n: int, offset: int) -> np.ndarray:
    """Inverse of `pack`."""
    k = len(packed)
    weights = np.empty((n, k), np.uint8)
    for rows in row_slices(k):
        weights[:, rows] = from_position_blocks(packed[rows].reshape(rows.stop - rows.start, -1, COLUMN_BLOCK), n)
    if not offset:
        return weights
    weights -= np.uint8(offset)
    return weights.view(np.int8)
