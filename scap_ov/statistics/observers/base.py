"""The contract of an observer: bounded memory, and merging the results of two shards equals one pass over both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

Tensors = dict[str, np.ndarray]


class Observer(Protocol):
    """Statistics of one tensor. `merge` is associative and commutative, bit for bit, so shards may come in any order.

    `fields` names what `result` returns; a name belongs to one observer only.
    """

    fields: tuple[str, ...]

    def __init__(self, channels: int, capacity: int) -> None:
        """Start empty.

        :param channels: K, the last dimension of the rows.
        :param capacity: number of whole rows that may be kept.
        """

    def update(self, rows: np.ndarray, priority: np.ndarray) -> None:
        """Take in the rows of one sample.

        :param rows: finite values, float32 [M, K].
        :param priority: a hash of (sample, position) for each row, uint64 [M]; the same on every machine.
        """

    def result(self) -> Tensors:
        """What was seen so far, by field name."""

    @staticmethod
    def merge(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], capacity: int) -> Tensors:
        """The result that one pass over the data of `a` and of `b` would have given."""
