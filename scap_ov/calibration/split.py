"""Split a calibration dataset into what is fitted on and what is held out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scap_ov.models.runner import InferenceData

EVERY = 4  # one sample in four is held out


class Part:
    """The samples of a dataset that are held out, every fourth one, or the others.

    :param dataset: nncf.Dataset, or anything with `get_inference_data()`.
    """

    def __init__(self, dataset: InferenceData, *, held_out: bool) -> None:
        self._dataset, self._held_out = dataset, held_out

    def get_inference_data(self) -> Iterator[object]:
        """The samples, in order."""
        for index, item in enumerate(self._dataset.get_inference_data()):
            if (index % EVERY == EVERY - 1) == self._held_out:
                yield item
