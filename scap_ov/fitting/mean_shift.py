"""Arithmetic of centres that climb to where their channel is densest, on rows that are looked at many times.

Fits at several levels share a Sample. Everything else that is as large as the rows is written into arrays that are made once for a fit:
new memory for each step takes longer than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from scap_ov.fitting.thresholds import NOTHING

FULL_ROWS = 512  # rows that settle the threshold of the early rounds
CENTER_ROWS = 1024  # rows that centres are means over; the final threshold is a quantile of all, half of which no centre was fitted to


_REACH = 0.03  # of a quantile: how far it moves from one round to the next, rarely more
_ROUNDING = 1e-6  # of a product in float32, with room


class Sample:
    """Rows of a site, and what does not depend on the level.

    :param rows: float32 [R, K].
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    @cached_property
    def median(self) -> np.ndarray:
        """Of each channel over the first FULL_ROWS, float32 [K]."""
        ordered = np.sort(np.ascontiguousarray(self.rows[:FULL_ROWS].T), axis=1)  # seven times as fast as np.median
        count = ordered.shape[1]
        return np.mean(ordered[:, (count - 1) // 2 : count // 2 + 1], axis=1)

    @cached_property
    def squares(self) -> tuple[np.ndarray, np.ndarray]:
        """(x − 0)² and (x − median)² of the first FULL_ROWS, float32 [R, K]."""
        part = self.rows[:FULL_ROWS]
        return np.square(part), np.square(part - self.median)

    def prepare(self) -> Sample:
        """Compute all that fits share, before they run in several threads."""
        _ = self.squares
        return self

    def start(self, cost: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Zero or the median of each channel, whichever costs less; float32 [K].

        :param cost: of squared distances, float32 [R, K]; written into its second argument.
        """
        made = np.empty_like(self.squares[0])
        at_zero, at_median = (cost(square, made).sum(0, dtype=np.float64) for square in self.squares)
        return np.where(at_median < at_zero, self.median, np.float32(0))


class Distances:
    """|x − c| of the rows of a Sample, for one centre after the other.

    :param copies: how many times an order statistic takes them.
    """

    def __init__(self, rows: np.ndarray, copies: int = 1) -> None:
        self._rows = rows
        self.values = np.empty_like(rows)
        self._sorted = np.empty((copies, *rows.shape), np.float32)
        self._mask = np.empty(rows.shape, bool)
        self._last: np.float32 | None = None  # the quantile before, which the next one is near to

    def over(self, rows: np.ndarray) -> Distances:
        """Those of more rows, which begin with these."""
        if len(rows) == len(self._rows):
            return self
        more = Distances(rows, len(self._sorted))
        more._last = self._last
        return more

    def last_quantile(self, center: np.ndarray, sparsity: float, ratio: np.float32 | None = None) -> np.float32:
        """`quantile` of all rows, for this centre."""
        self.of(center)
        return self.quantile(sparsity, len(self._rows), ratio)

    def of(self, center: np.ndarray) -> np.ndarray:
        """|x − c|, float32 [R, K]; valid until the next call."""
        np.subtract(self._rows, center, out=self.values)
        return np.abs(self.values, out=self.values)

    def quantile(self, sparsity: float, rows: int, ratio: np.float32 | None = None) -> np.float32:
        """The smallest float32 at or below which `sparsity` of the distances of the first rows lie; see thresholds.quantile_threshold.

        :param ratio: of the distances and the distances divided by this together.
        """
        own = self.values[:rows]
        scales = [np.float32(1)] if ratio is None else [np.float32(1), ratio]
        wanted = round(sparsity * own.size * len(scales))
        if wanted < 1:
            return NOTHING
        found = None if self._last is None else _near(own.reshape(-1), scales, wanted - 1, self._last)
        self._last = self._partitioned(own, scales, wanted - 1) if found is None else found
        return self._last

    def _partitioned(self, own: np.ndarray, scales: Sequence[np.float32], place: int) -> np.float32:
        """The value at this place among the distances, divided by each of the scales."""
        parts = self._sorted.reshape(-1)[: len(scales) * own.size].reshape(-1, *own.shape)
        for part, scale in zip(parts, scales, strict=True):
            np.divide(own, scale, out=part)
        flat = parts.reshape(-1)
        flat.partition(place)
        return np.float32(flat[place])

    def below(self, threshold: np.float32) -> tuple[np.ndarray, np.ndarray]:
        """Of the entries at or below a threshold: how many there are, int64 [K], and their sum, float64 [K]."""
        np.less_equal(self.values, threshold, out=self._mask)
        count = self._mask.sum(0, dtype=np.int32).astype(np.int64)
        return count, np.einsum("rk,rk->k", self._rows, self._mask, dtype=np.float64)


def _near(values: np.ndarray, scales: Sequence[np.float32], place: int, guess: np.float32) -> np.float32 | None:
    """The same order statistic, looked for among the values near a guess alone; None where it is not among them.

    :param values: float32 [n], 0 or more.
    """
    low, high = np.float64(guess) * (1 - _REACH), np.float64(guess) * (1 + _REACH)
    near = []
    for scale in scales:
        edges = np.float32(low * scale), np.float32(high * scale)
        place -= int(np.count_nonzero(values < edges[0]))
        near.append(values[(values >= edges[0]) & (values <= edges[1])] / scale)
    found = np.concatenate(near)
    if not 0 <= place < len(found):
        return None
    value = np.partition(found, place)[place]
    return np.float32(value) if low * (1 + _ROUNDING) < value < high * (1 - _ROUNDING) else None
