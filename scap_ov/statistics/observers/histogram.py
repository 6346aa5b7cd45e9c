"""One histogram of all values of a tensor, with bins that are fixed in advance: merging is adding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scap_ov.statistics.observers.base import Tensors

# A bin is a sign, an exponent and the top 5 bits of the mantissa of a float32: 32 bins an octave, each 2-3 % wide.
# Octaves 2^-24 … 2^16; what is smaller falls into the bin at zero of its sign, what is larger into the outermost bin.
#   index:  [ -2^16 … -2^-24 | -0 | +0 | 2^-24 … 2^16 ]
_SHIFT = 18
_LOW, _HIGH = (127 - 24) << 5, (127 + 16) << 5
_HALF = _HIGH - _LOW + 1
BINS = 2 * _HALF


class HistogramObserver:
    """Counts of all values of all rows: 20 kB a site."""

    fields = ("histogram",)

    def __init__(self, channels: int = 0, capacity: int = 0) -> None:
        """Start empty; neither argument changes the size."""
        del channels, capacity
        self._counts = np.zeros(BINS, np.int64)

    def update(self, rows: np.ndarray, priority: np.ndarray | None = None) -> None:
        """Count the values of float32 rows."""
        del priority
        self._counts += histogram(rows)

    def result(self) -> Tensors:
        """Int64 [BINS], ascending in value; `bin_edges` tells where."""
        return {"histogram": self._counts}

    @staticmethod
    def merge(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], capacity: int) -> Tensors:
        """Add the counts."""
        del capacity
        return {"histogram": a["histogram"] + b["histogram"]}


def histogram(values: np.ndarray) -> np.ndarray:
    """Count float32 values of any shape: int64 [BINS]."""
    bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
    counts = np.bincount(bits >> _SHIFT, minlength=1 << (32 - _SHIFT)).astype(np.int64)
    positive, negative = np.split(counts, 2)
    return np.concatenate([_fold(negative)[::-1], _fold(positive)])


def bin_edges() -> np.ndarray:
    """Edges of the bins, ascending, float64 [BINS + 1]; the outermost bins also hold what lies beyond."""
    octaves = 2.0 ** np.arange(-24, 16)
    magnitude = np.append((octaves[:, None] * (1 + np.arange(32) / 32)).reshape(-1), 2.0**16)
    return np.concatenate([-magnitude[::-1], [0.0], magnitude])


def magnitude_quantile(counts: np.ndarray, share: float) -> float:
    """The value below which `share` of the magnitudes lie, linear inside a bin.

    :param counts: int64 [BINS].
    :param share: in [0, 1].
    """
    both = counts[_HALF:] + counts[:_HALF][::-1]
    edges = bin_edges()[_HALF:]
    total = np.concatenate([[0], np.cumsum(both)])
    return float(np.interp(share * total[-1], total, edges))


def _fold(half: np.ndarray) -> np.ndarray:
    kept = np.concatenate([[half[:_LOW].sum()], half[_LOW:_HIGH]])
    kept[-1] += half[_HIGH:].sum()
    return kept
