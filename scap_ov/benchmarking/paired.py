"""Alternate two or more runs, and summarise: A B A B …, so that a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scap_ov.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """Median, least and largest of repeated measurements."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def alternate(
    runs: Mapping[str, Callable[[int], T]], repeats: int, *, warmup: int = 1, progress: Progress | None = None
) -> dict[str, list[T]]:
    """Call each run in turn, `repeats` times over.

    :param runs: name -> function of the turn's number; all runs of one turn do the same work.
    :param warmup: turns before those that count.
    :return: name -> what each counted call returned, in order.
    """
    results: dict[str, list[T]] = {name: [] for name in runs}
    for turn in range(-warmup, repeats):
        for name, run in runs.items():
            value = run(turn)
            if turn >= 0:
                results[name].append(value)
        if progress:
            progress(turn + warmup + 1, repeats + warmup)
    return results


def median_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Median of a[i] / b[i]: how much larger `a` is in runs that stood side by side."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))
