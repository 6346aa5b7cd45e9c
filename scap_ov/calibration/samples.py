"""Pick a few whole samples of a calibration dataset, spread over it, for forward passes that are compared with one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from scap_ov.errors import BadDatasetError
from scap_ov.models.runner import samples_of
from scap_ov.models.sample import SampleReader

if TYPE_CHECKING:
    from scap_ov.models.runner import InferenceData
    from scap_ov.models.tensors import HasInputs


class OfModel(Protocol):
    """What was made of a model."""

    @property
    def stock(self) -> HasInputs:
        """The model that the samples are for."""


@dataclass(frozen=True)
class CalibrationWindow:
    """One sample, from an empty state on.

    :param inputs: of the model, by name.
    :param pruned: which rows count, bool [M]: no padding and not the first of a sequence.
    :param digest: hash of the content.
    """

    inputs: Mapping[str, np.ndarray]
    pruned: np.ndarray
    digest: int


def pick_windows(probe: OfModel, dataset: InferenceData, tokens: int, *, held_out: bool = False) -> list[CalibrationWindow]:
    """Samples that begin a sequence, evenly spread, as many as hold `tokens` rows (at least one).

    :param held_out: pick other samples than without: for decisions on text that was not fitted on.
    :raises BadDatasetError: no sample starts a sequence of two rows.
    """
    windows = [w for w in _windows(probe, dataset) if w.pruned.any()]
    if not windows:
        msg = "no calibration sample starts a sequence of two tokens or more; give longer samples"
        raise BadDatasetError(msg)
    mean = np.mean([w.pruned.sum() for w in windows])
    count = int(np.clip(round(tokens / mean), 1, len(windows)))
    # samples at the middles of `count` equal spans; held-out ones at their starts
    at = (np.arange(count) + (0.0 if held_out else 0.5)) * len(windows) / count
    return [windows[i] for i in sorted(set(at.astype(int).tolist()))]


def counted(pruned: np.ndarray, lead: int | tuple[int, ...]) -> np.ndarray:
    """Which rows of a tensor count, bool [rows]: those of `pruned`; all of them where the rows are no tokens, as those of a pooled output.

    :param lead: rows, or leading dimensions; (T, k) are k rows of each token, as what `down` of routed experts reads has them.
    """
    if isinstance(lead, tuple) and len(lead) == 2 and lead[0] == len(pruned) > 1:
        return np.repeat(pruned, lead[1])
    rows = int(np.prod(lead))
    return pruned if len(pruned) == rows else np.ones(rows, bool)


def _windows(probe: OfModel, dataset: InferenceData) -> Iterator[CalibrationWindow]:
    reader, index = SampleReader(probe.stock), -1
    for index, item in enumerate(samples_of(dataset)):
        sample = reader.read(item, index)
        if not sample.starts:
            continue
        mask = sample.mask
        if mask is None:
            first = next(iter(sample.values.values()), np.zeros(0))
            mask = np.ones(np.shape(first)[:1], bool)
        yield CalibrationWindow({k: np.array(v) for k, v in sample.values.items()}, mask.reshape(-1), sample.digest())
    if index < 0:
        msg = "the calibration data gave samples before, and none now: it can be read only once; make it of a list, not a generator"
        raise BadDatasetError(msg)
