"""Pick a few whole samples of a calibration dataset, spread over it, for forward passes that are compared with one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.errors import BadDatasetError
from scap_ov.models.runner import _digest, _named_inputs, _sequence_mask

if TYPE_CHECKING:
    from scap_ov.calibration.probe_model import ProbeModel
    from scap_ov.models.runner import InferenceData


@dataclass(frozen=True)
class Piece:
    """One sample, from an empty state on.

    :param inputs: of the model, by name.
    :param pruned: which rows count, bool [M]: no padding and not the first of a sequence.
    :param digest: hash of the content.
    """

    inputs: Mapping[str, np.ndarray]
    pruned: np.ndarray
    digest: int


def pick_pieces(probe: ProbeModel, dataset: InferenceData, tokens: int, *, held_out: bool = False) -> list[Piece]:
    """Samples that begin a sequence, evenly spread, as many as hold `tokens` rows (at least one).

    :param held_out: pick other samples than without: for decisions on text that was not fitted on.
    :raises BadDatasetError: no sample starts a sequence of two rows.
    """
    pieces = [p for p in _pieces(probe, dataset) if p.pruned.any()]
    if not pieces:
        msg = "no calibration sample starts a sequence of two tokens or more; give longer samples"
        raise BadDatasetError(msg)
    mean = np.mean([p.pruned.sum() for p in pieces])
    count = int(np.clip(round(tokens / mean), 1, len(pieces)))
    # samples at the middles of `count` equal spans; held-out ones at their starts
    at = (np.arange(count) + (0.0 if held_out else 0.5)) * len(pieces) / count
    return [pieces[i] for i in sorted(set(at.astype(int).tolist()))]


def _pieces(probe: ProbeModel, dataset: InferenceData) -> Iterator[Piece]:
    for item in dataset.get_inference_data():
        inputs, starts = _named_inputs(probe.stock, item)
        if not starts:
            continue
        mask = _sequence_mask(inputs, starts=True)
        if mask is None:
            first = next(iter(inputs.values()))
            mask = np.ones(first.shape[:1], bool)
        yield Piece({k: np.array(v) for k, v in inputs.items()}, mask.reshape(-1), _digest(inputs))
