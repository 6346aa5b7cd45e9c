"""u4, and i4 stored as value + 8: two blocks of 64 channels share 64 bytes. Twin of src/formats/u4.hpp.

byte 64b' + p: [hhhh|llll]  l = position p of block 2b', h = position p of block 2b' + 1
a last single block takes 32 bytes: l = position p, h = position p + 32; the row is then padded to 64
"""

from __future__ import annotations

import numpy as np

from scap_ov.custom_ops.formats import native
from scap_ov.custom_ops.formats.base import COLUMN_BLOCK, from_position_blocks, padded_columns, position_blocks, row_slices, side_by_side

DTYPE = np.dtype(np.uint8)


def row_bytes(n_padded: int) -> int:
    """Bytes of a row."""
    return -(-n_padded // (2 * COLUMN_BLOCK)) * COLUMN_BLOCK


def pack(weights: np.ndarray, offset: int) -> np.ndarray:
    """[N, K] -> uint8 [K, row_bytes]."""
    n, k = weights.shape
    packed = np.zeros((k, row_bytes(padded_columns(n))), np.uint8)
    if native.packs(weights):
        native.pack_into(native.Stored([weights], 8, offset), 4, packed)
        return packed

    def some(rows: slice) -> None:
        blocks = position_blocks(weights, offset, rows)
        pairs = blocks.shape[1] // 2
        both = blocks[:, 0 : 2 * pairs : 2] | (blocks[:, 1 : 2 * pairs : 2] << 4)
        packed[rows, : pairs * COLUMN_BLOCK] = both.reshape(len(blocks), -1)
        if blocks.shape[1] % 2:
            last, half = blocks[:, -1], COLUMN_BLOCK // 2
            packed[rows, pairs * COLUMN_BLOCK :][:, :half] = last[:, :half] | (last[:, half:] << 4)

    side_by_side(some, row_slices(k))
    return packed


def unpack(packed: np.ndarray, n: int, offset: int) -> np.ndarray:
    """Inverse of `pack`."""
    k, count = len(packed), padded_columns(n) // COLUMN_BLOCK
    pairs = count // 2
    weights = np.empty((n, k), np.uint8)
    for rows in row_slices(k):
        size = rows.stop - rows.start
        blocks = np.empty((size, count, COLUMN_BLOCK), np.uint8)
        both = packed[rows, : pairs * COLUMN_BLOCK].reshape(size, pairs, COLUMN_BLOCK)
        blocks[:, 0 : 2 * pairs : 2], blocks[:, 1 : 2 * pairs : 2] = both & 15, both >> 4
        if count % 2:
            half = COLUMN_BLOCK // 2
            last = packed[rows, pairs * COLUMN_BLOCK :][:, :half]
            blocks[:, -1, :half], blocks[:, -1, half:] = last & 15, last >> 4
        weights[:, rows] = from_position_blocks(blocks, n)
    if not offset:
        return weights
    weights -= np.uint8(offset)
    return weights.view(np.int8)
