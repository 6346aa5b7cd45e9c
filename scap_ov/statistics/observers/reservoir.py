"""A bounded, uniform sample of whole rows, drawn by a hash of the row's origin: merging shards gives the rows of one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scap_ov.statistics.observers.base import Tensors

_F16_MAX = float(np.finfo(np.float16).max)
_STEP = np.uint64(0x9E3779B97F4A7C15)


class ReservoirObserver:
    """The `capacity` rows of smallest priority, as float16: 2 bytes a channel and row.

    Priorities depend on the sample's content and the row's position only, so all sites of a sequence model keep the same rows.
    """

    fields = ("rows", "priority")

    def __init__(self, channels: int, capacity: int) -> None:
        """Start empty, with room for `capacity` rows of `channels` values."""
        self._rows = np.empty((capacity, channels), np.float16)
        self._priority = np.empty(capacity, np.uint64)
        self._held = 0

    def update(self, rows: np.ndarray, priority: np.ndarray) -> None:
        """Offer rows, float32 [M, K]. Slots of rows that lose are overwritten in place; nothing else moves."""
        capacity = len(self._priority)
        room = min(capacity - self._held, len(rows))
        if room:
            self._put(slice(self._held, self._held + room), rows[:room], priority[:room])
            self._held += room
        rows, priority = rows[room:], priority[room:]
        if not len(rows) or not capacity:
            return
        winners = np.argsort(np.concatenate([self._priority, priority]), kind="stable")[:capacity]
        coming = winners[winners >= capacity] - capacity
        staying = np.zeros(capacity, bool)
        staying[winners[winners < capacity]] = True
        self._put(np.flatnonzero(~staying), rows[coming], priority[coming])

    def result(self) -> Tensors:
        """Rows float16 [R, K] and their priorities uint64 [R], ascending."""
        order = np.argsort(self._priority[: self._held], kind="stable")
        return {"rows": self._rows[order], "priority": self._priority[order]}

    @staticmethod
    def merge(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], capacity: int) -> Tensors:
        """The `capacity` rows of smallest priority among both."""
        priority = np.concatenate([a["priority"], b["priority"]])
        order = np.argsort(priority, kind="stable")[:capacity]
        return {"rows": np.concatenate([a["rows"], b["rows"]])[order], "priority": priority[order]}

    def _put(self, where: slice | np.ndarray, rows: np.ndarray, priority: np.ndarray) -> None:
        self._rows[where] = np.clip(rows, -_F16_MAX, _F16_MAX)
        self._priority[where] = priority


def share_of_common_rows(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    """How much of the smaller of two samples of rows is in the other one too, from 0 to 1.

    Both keep the rows of smallest priority, so rows below the last priority of each are compared: every common one of those is in both.

    :param a: result of a ReservoirObserver.
    :param b: of another one, of the same tensor.
    """
    one, two = a["priority"], b["priority"]
    if not len(one) or not len(two):
        return 0.0
    last = min(one.max(), two.max())
    one, two = one[one <= last], two[two <= last]
    return float(max(np.isin(one, two).mean(), np.isin(two, one).mean())) if len(one) and len(two) else 0.0


def row_priorities(digest: int, count: int) -> np.ndarray:
    """Well mixed hashes of the positions of one sample (splitmix64).

    :param digest: 64-bit hash of the sample's content.
    :return: uint64 [count].
    """
    with np.errstate(over="ignore"):
        z = np.uint64(digest) + np.arange(1, count + 1, dtype=np.uint64) * _STEP
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
