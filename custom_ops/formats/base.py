"""What the packed formats share: padding, and the order of channels inside a block of 64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

COLUMN_BLOCK = 64
_ROWS_AT_ONCE = 128  # input channels that are transposed at a time: their part of every output channel's row is two cache lines


def padded_columns(n: int) -> int:
    """N rounded up to whole blocks."""
    return -(-n // COLUMN_BLOCK) * COLUMN_BLOCK


def position_blocks(weights: np.ndarray, offset: int) -> Iterator[tuple[slice, np.ndarray]]:
    """[N, K] bytes as blocks in position order, some input channels at a time.

    Position 16l + 4j + i holds channel 16j + 4l + i of its block: seen as [j, l, i], two axes change places.

    :param weights: uint8, or int8 to which `offset` is added.
    :return: (input channels, uint8 [k, blocks, 64]).
    """
    n, k = weights.shape
    blocks = padded_columns(n) // COLUMN_BLOCK
    for start in range(0, k, _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, k))
        part = np.zeros((blocks * COLUMN_BLOCK, rows.stop - start), np.uint8)
        part[:n] = weights[:, rows].view(np.uint8)
        if offset:
            part[:n] += np.uint8(offset)
        ordered = part.reshape(blocks, 4, 4, 4, -1).transpose(4, 0, 2, 1, 3)
        yield rows, ordered.reshape(rows.stop - start, blocks, COLUMN_BLOCK)


def from_position_blocks(blocks: np.ndarray, n: int) -> np.ndarray:
    """Inverse of `position_blocks` for the rows that it gave: uint8 [k, blocks, 64] -> [N, k]."""
    k, count = blocks.shape[:2]
    return blocks.reshape(k, count, 4, 4, 4).transpose(1, 3, 2, 4, 0).reshape(count * COLUMN_BLOCK, k)[:n]


def row_slices(k: int) -> Iterator[slice]:
    """Input channels, as many at a time as `position_blocks` takes."""
    for start in range(0, k, _ROWS_AT_ONCE):
        yield slice(start, min(start + _ROWS_AT_ONCE, k))


def pack_floats(weights: np.ndarray) -> np.ndarray:
    """[N, K] values -> uint8 [K, row_bytes] in channel order."""
    n, k = weights.shape
    packed = np.zeros((k, padded_columns(n)), weights.dtype.newbyteorder("<"))
    for rows in row_slices(k):
        packed[rows, :n] = weights[:, rows].T
    return packed.view(np.uint8)


def unpack_floats(packed: np.ndarray, n: int, dtype: np.dtype) -> np.ndarray:
    """Inverse of `pack_floats`."""
    return np.ascontiguousarray(np.ascontiguousarray(packed).view(dtype.newbyteorder("<"))[:, :n].T.astype(dtype, copy=False))
