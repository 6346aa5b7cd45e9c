"""Sections of bytes one behind the other, each at a multiple of 64, behind the rows of a packed weight (docs/packing.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_STEP = 64  # bytes


def padded_size(size: int) -> int:
    """Bytes that a section takes up."""
    return -(-size // _STEP) * _STEP


def rows_of(sizes: Sequence[int], row_bytes: int) -> int:
    """Rows of a packed weight that sections of these sizes take."""
    return -(-sum(padded_size(size) for size in sizes) // row_bytes)


def write_sections(target: np.ndarray, sections: Sequence[np.ndarray]) -> None:
    """Copy sections, arrays of bytes, to the beginning of `target`, uint8 [n]; 0 between and behind them."""
    target[:] = 0
    start = 0
    for section in sections:
        target[start : start + section.size] = section.reshape(-1)
        start += padded_size(section.size)


def read_sections(data: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Inverse of `write_sections`: copies, uint8."""
    starts = np.cumsum([0, *(padded_size(size) for size in sizes)])
    return [data[start : start + size].copy() for start, size in zip(starts, sizes, strict=False)]


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Floats as a section holds them: the bytes of float32."""
    return np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
