"""Per-channel sums, sums of squares, minima and maxima, in fixed point so that merging is exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scap_ov.statistics.observers.base import Tensors

# Sums are pairs of int64: whole part, and fraction in units of 2^-40. Integer addition makes merging exact in any order;
# 2^23 samples fit before the fraction could overflow.
FRACTION = float(1 << 40)


class MomentsObserver:
    """Moments of each channel over all rows: 40 bytes a channel."""

    fields = ("sum", "sum_of_squares", "minimum", "maximum")

    def __init__(self, channels: int, capacity: int) -> None:
        """Start empty. `capacity` is of no concern here."""
        del capacity
        self._sum = np.zeros((2, channels), np.int64)
        self._square = np.zeros((2, channels), np.int64)
        self._minimum = np.full(channels, np.inf, np.float32)
        self._maximum = np.full(channels, -np.inf, np.float32)

    def update(self, rows: np.ndarray, priority: np.ndarray) -> None:
        """Add the rows of one sample, float32 [M, K]."""
        del priority
        self._sum += fixed_point(rows.sum(0, dtype=np.float64))
        self._square += fixed_point(np.square(rows, dtype=np.float64).sum(0))
        self._minimum = np.minimum(self._minimum, rows.min(0))
        self._maximum = np.maximum(self._maximum, rows.max(0))

    def result(self) -> Tensors:
        """Int64 [2, K] sums and float32 [K] extremes."""
        return {"sum": self._sum, "sum_of_squares": self._square, "minimum": self._minimum, "maximum": self._maximum}

    @staticmethod
    def merge(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], capacity: int) -> Tensors:
        """Add sums, compare extremes."""
        del capacity
        return {
            "sum": a["sum"] + b["sum"],
            "sum_of_squares": a["sum_of_squares"] + b["sum_of_squares"],
            "minimum": np.minimum(a["minimum"], b["minimum"]),
            "maximum": np.maximum(a["maximum"], b["maximum"]),
        }


def fixed_point(values: np.ndarray) -> np.ndarray:
    """Round float64 [K] to multiples of 2^-40.

    :return: whole parts and fractions, int64 [2, K].
    """
    whole = np.floor(values)
    return np.stack([whole.astype(np.int64), np.rint((values - whole) * FRACTION).astype(np.int64)])


def from_fixed_point(limbs: np.ndarray) -> np.ndarray:
    """Inverse of `fixed_point`: float64 [K]."""
    return limbs[0].astype(np.float64) + limbs[1].astype(np.float64) / FRACTION
