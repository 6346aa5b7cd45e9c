"""Run an OpenVINO model on calibration data and observe the input of every site. After: passes.openvino.find_sites."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov

from scap_ov.calibration.block_model import BlockModel
from scap_ov.calibration.flow import Flow
from scap_ov.calibration.samples import Piece
from scap_ov.calibration.site_taps import site_taps, summarised
from scap_ov.errors import BadDatasetError, UncutError
from scap_ov.models.opened import OpenedModel, opened_model
from scap_ov.models.runner import InferenceData, misfit, samples_of, stream
from scap_ov.models.sample import SampleReader, counted_rows
from scap_ov.progress import Progress
from scap_ov.statistics.collector import Collector, Sample, collect, finished
from scap_ov.statistics.observers.reservoir import row_priorities
from scap_ov.statistics.profile import CalibrationProfile, capacity_for

GROUP_BYTES = 256 << 20  # of hidden states; more samples pass through the blocks in several groups
_log = logging.getLogger(__name__)


def observe(
    model: ov.Model | OpenedModel,
    dataset: InferenceData,
    *,
    capacity: int | None = None,
    group_bytes: int = GROUP_BYTES,
    progress: Progress | None = None,
) -> CalibrationProfile:
    """Stream a dataset through a model and keep bounded statistics of every site's input.

    1. The model is cloned; the one that was given is not changed.
    2. Position 0 of each sequence, and padding, is not observed: it is computed dense later on.
    3. Memory does not grow with the number of samples.
    4. The model is run block by block, groups of samples at a time; as a whole where it has no blocks, or a sample continues another.

    :param dataset: nncf.Dataset, or anything with `get_inference_data()`.
    :param capacity: rows to keep per site; None for what `profile.capacity_for` allows.
    :param group_bytes: most bytes of hidden states of samples that are between two blocks together.
    :param progress: called with (steps done, steps or None).
    :raises BadDatasetError: the data is empty, does not fit the model's inputs, or gives NaN or infinite activations.
    :raises BadModelError: the model has no fully connected layer that could be pruned.
    """
    opened = opened_model(model)
    weights = [(match.site, summarised(match)) for match in opened.found.some()]
    sites = tuple(site for site, _ in weights)
    capacity = capacity_for(sites) if capacity is None else capacity
    try:
        collector = _ByBlocks(BlockModel(opened), Collector(sites, capacity), group_bytes, progress).observe(dataset)
    except UncutError as e:
        _log.info("observing the whole model at once: %s", e)
        clone, found = opened.copy()
        return collect(weights, stream(clone, site_taps(found), dataset, progress=progress), opened.fingerprint, capacity)
    return finished(collector, weights, opened.fingerprint)


@dataclass(frozen=True)
class _Arrival:
    """A sample on its way.

    :param number: of the sample.
    :param mask: which tokens count.
    """

    number: int
    mask: np.ndarray | None
    flow: Flow


class _ByBlocks:
    """Takes groups of samples through the blocks."""

    def __init__(self, model: BlockModel, collector: Collector, group_bytes: int, progress: Progress | None) -> None:
        self._model, self._collector, self._most, self._progress = model, collector, group_bytes, progress
        self._steps: int | None = None

    def observe(self, dataset: InferenceData) -> Collector:
        """Take in a dataset.

        :raises UncutError: a sample continues another.
        """
        length = getattr(dataset, "get_length", lambda: None)()
        self._steps = None if length is None else length * (self._model.blocks + 1)
        group: list[_Arrival] = []
        size = 0
        for arrival in self._arrivals(dataset):
            group.append(arrival)
            size += 4 * self._model.width * int(np.prod(arrival.flow.window.pruned.shape))
            if size >= self._most:
                self._run(group)
                group, size = [], 0
        self._run(group)
        return self._collector

    def _arrivals(self, dataset: InferenceData) -> Iterator[_Arrival]:
        reader = SampleReader(self._model.stock)
        for number, item in enumerate(samples_of(dataset)):
            sample = reader.read(item, number)
            if not sample.starts:
                msg = f"sample {number} continues the one before"
                raise UncutError(msg)
            rows = np.ones(0, bool) if sample.mask is None else sample.mask.reshape(-1)
            window = Piece({k: np.array(v) for k, v in sample.values.items()}, rows, sample.digest())
            try:
                flow = self._model.start([window])[0]
            except RuntimeError as e:
                raise self._misfit(number, window, e) from e
            yield _Arrival(number, sample.mask, flow)

    def _misfit(self, number: int, window: Piece, error: RuntimeError) -> BadDatasetError:
        return BadDatasetError(misfit(f"sample {number} does not fit the model", self._model.stock.inputs, window.inputs, error))

    def _run(self, group: list[_Arrival]) -> None:
        done = self._collector.samples * (self._model.blocks + 1)
        for block in range(self._model.blocks):
            for index, one in enumerate(group):
                try:
                    self._model.advance(block, [one.flow], lambda _, taps, one=one: self._take(one, taps))  # type: ignore[misc]
                except RuntimeError as e:
                    raise self._misfit(one.number, one.flow.window, e) from e
                self._tell(done + block * len(group) + index + 1)
        for index, one in enumerate(group):
            self._take(one, self._model.head.taps(one.flow))
            self._tell(done + self._model.blocks * len(group) + index + 1)
        self._collector.samples += len(group)

    def _take(self, one: _Arrival, taps: Mapping[str, np.ndarray]) -> None:
        observed = {name: counted_rows(value.shape, one.mask) for name, value in taps.items()}
        priority = {name: row_priorities(one.flow.window.digest, len(keep)) for name, keep in observed.items()}
        sample = Sample(taps, observed, priority)
        for name in taps:
            if name in self._collector.counts:
                self._collector.take(name, sample, one.number)

    def _tell(self, done: int) -> None:
        if self._progress:
            self._progress(done, self._steps)
