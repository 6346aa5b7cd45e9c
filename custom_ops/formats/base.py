"""What the packed formats share: padding, and the order of channels inside a block of 64."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

COLUMN_BLOCK = 64
_ROWS_AT_ONCE = 128  # input channels that are transposed at a time: their part of every output channel's row is two cache lines
_MOST_THREADS = 8  # more wait for the memory


def padded_columns(n: int) -> int:
    """N rounded up to whole blocks."""
    return -(-n // COLUMN_BLOCK) * COLUMN_BLOCK


def position_blocks(weights: np.ndarray, offset: int, rows: slice) -> np.ndarray:
    """[N, K] bytes as blocks in position order, of some input channels.

    Position 16l + 4j + i holds channel 16j + 4l + i of its block: seen as [j, l, i], two axes change places.

    :param weights: uint8, or int8 to which `offset` is added.
    :param rows: input channels.
    :return: uint8 [k, blocks, 64].
    """
    blocks = padded_columns(len(weights)) // COLUMN_BLOCK
    part = np.zeros((blocks * COLUMN_BLOCK, rows.stop - rows.start), np.uint8)
    part[: len(weights)] = weights[:, rows].view(np.uint8)
    if offset:
        part[: len(weights)] += np.uint8(offset)
    ordered = part.reshape(blocks, 4, 4, 4, -1).transpose(4, 0, 2, 1, 3)
    return ordered.reshape(rows.stop - rows.start, blocks, COLUMN_BLOCK)


def side_by_side(work: Callable[[slice], None], parts: Iterable[slice]) -> None:
    """Call `work` with every part, some at a time: numpy computes without the interpreter's lock.

    :param work: writes what it makes of its part into arrays of the caller, each part elsewhere.
    """
    with ThreadPoolExecutor(min(_MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        for _ in pool.map(work, parts):
            pass


def from_position_blocks(blocks: np.ndarray, n: int) -> np.ndarray:
    """Inverse of `position_blocks` for the rows that it gave: uint8 [k, blocks, 64] -> [N, k]."""
    k, count = blocks.shape[:2]
    return blocks.reshape(k, count, 4, 4, 4).transpose(1, 3, 2, 4, 0).reshape(count * COLUMN_BLOCK, k)[:n]


def row_slices(k: int) -> Iterator[slice]:
    """Input channels, some at a time."""
    for start in range(0, k, _ROWS_AT_ONCE):
        yield slice(start, min(start + _ROWS_AT_ONCE, k))


def pack_floats(weights: np.ndarray) -> np.ndarray:
    """[N, K] values -> uint8 [K, row_bytes] in channel order."""
    n, k = weights.shape
    packed = np.zeros((k, padded_columns(n)), weights.dtype.newbyteorder("<"))

    def some(rows: slice) -> None:
        packed[rows, :n] = weights[:, rows].T

    side_by_side(some, row_slices(k))
    return packed.view(np.uint8)


def unpack_floats(packed: np.ndarray, n: int, dtype: np.dtype) -> np.ndarray:
    """Inverse of `pack_floats`."""
    return np.ascontiguousarray(np.ascontiguousarray(packed).view(dtype.newbyteorder("<"))[:, :n].T.astype(dtype, copy=False))
