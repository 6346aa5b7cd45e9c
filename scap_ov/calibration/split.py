"""Split a calibration dataset: into what is fitted on and what is held out, or into shards for several machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.statistics.shards import shard_numbers

if TYPE_CHECKING:
    from scap_ov.models.runner import InferenceData

EVERY = 2  # one sample in two is held out: how much a loss can be proven to be depends on the text that it is measured on


class HeldOutSplit:
    """The samples of a dataset that are held out, every second one, or the others.

    :param dataset: nncf.Dataset, or anything with `get_inference_data()`.
    """

    def __init__(self, dataset: InferenceData, *, held_out: bool) -> None:
        self._dataset, self._held_out = dataset, held_out

    def get_inference_data(self) -> Iterator[object]:
        """The samples, in order."""
        for index, item in enumerate(self._dataset.get_inference_data()):
            if (index % EVERY == EVERY - 1) == self._held_out:
                yield item


class Shard:
    """One of several equal parts of a dataset: every `count`-th sample. The profiles of all parts merge into that of the whole.

    :param dataset: nncf.Dataset, or anything with `get_inference_data()`, the same on every machine.
    :param number: from 1 to `count`.
    :param count: of shards in all.
    """

    def __init__(self, dataset: InferenceData, number: int, count: int) -> None:
        """:raises UsageError: there is no such shard, or it is no dataset."""
        self._number, self._count = shard_numbers(f"{number}/{count}")
        if not hasattr(dataset, "get_inference_data"):
            msg = f"dataset is of type {type(dataset).__name__}; give an nncf.Dataset, or anything with get_inference_data()"
            raise UsageError(msg)
        self._dataset = dataset

    @property
    def name(self) -> str:
        """`3/16`, as a profile keeps it."""
        return f"{self._number}/{self._count}"

    def get_length(self) -> int | None:
        """How many samples, where the dataset tells how many it has."""
        length = getattr(self._dataset, "get_length", lambda: None)()
        return None if length is None else len(range(self._number - 1, length, self._count))

    def get_inference_data(self) -> Iterator[object]:
        """The samples, in order.

        :raises BadDatasetError: there are none, for the dataset has fewer samples than there are shards.
        """
        index = -1
        for index, item in enumerate(self._dataset.get_inference_data()):
            if index % self._count == self._number - 1:
                yield item
        if index + 1 < self._number:
            msg = f"shard {self.name} is empty: the data has {index + 1} samples; give at most {max(index + 1, 1)} shards, or more tokens"
            raise BadDatasetError(msg)
