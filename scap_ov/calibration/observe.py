"""Run an OpenVINO model on calibration data and observe the input of every site. After: passes.openvino.find_sites."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov

from scap_ov.calibration.block_model import BlockModel
from scap_ov.calibration.flow import Flow
from scap_ov.calibration.samples import CalibrationWindow
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
KEPT_TOKENS = 4096  # of a group where every one is kept: the weights of a block are made f32 once for each, a twentieth of the time

Keep = Callable[[CalibrationProfile], None]
_log = logging.getLogger(__name__)


def observe(
    model: ov.Model | OpenedModel,
    dataset: InferenceData,
    *,
    capacity: int | None = None,
    group_bytes: int = GROUP_BYTES,
    so_far: CalibrationProfile | None = None,
    keep: Keep | None = None,
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
    :param so_far: what an interrupted run has kept; its samples are passed over.
    :param keep: called with the profile of the samples so far after every group, which then is of KEPT_TOKENS at most.
    :param progress: called with (steps done, steps or None).
    :raises BadDatasetError: the data is empty, does not fit the model's inputs, or gives NaN or infinite activations.
    :raises BadModelError: the model has no fully connected layer that could be pruned.
    """
    opened = opened_model(model)
    weights = [(match.site, summarised(match)) for match in opened.found.some()]
    sites = tuple(site for site, _ in weights)
    capacity = capacity_for(sites) if capacity is None else capacity
    done = so_far

    def finish(collector: Collector) -> CalibrationProfile:
        if done is None:
            return finished(collector, weights, opened.fingerprint)
        if not collector.samples:
            return done
        return done.continued(finished(collector, [(site, ()) for site in sites], opened.fingerprint))

    def kept(collector: Collector) -> Collector:
        nonlocal done
        if keep is None or not min(collector.counts.values()):
            return collector
        done = finish(collector)
        keep(done)
        return Collector(sites, capacity)

    try:
        blocks = BlockModel(opened)
        most = group_bytes if keep is None else min(group_bytes, 4 * blocks.width * KEPT_TOKENS)
        passed = 0 if so_far is None else int(so_far.metadata["samples"])
        collector = _ByBlocks(blocks, Collector(sites, capacity), most, progress).observe(dataset, passed, kept)
    except UncutError as e:
        _log.info("observing the whole model at once: %s", e)
        clone, found = opened.copy()
        return collect(weights, stream(clone, site_taps(found), dataset, progress=progress), opened.fingerprint, capacity)
    return finish(collector) if collector.samples or done is None else done


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
        self._done = 0  # samples

    def observe(self, dataset: InferenceData, passed: int, each: Callable[[Collector], Collector]) -> Collector:
        """Take in a dataset.

        :param passed: samples at its beginning that are not taken in.
        :param each: called after every group with what collected it; gives what collects the next one.
        :raises UncutError: a sample continues another.
        """
        length = getattr(dataset, "get_length", lambda: None)()
        self._steps, self._done = None if length is None else length * (self._model.blocks + 1), passed
        group: list[_Arrival] = []
        size = 0
        for arrival in self._arrivals(dataset, passed):
            group.append(arrival)
            size += 4 * self._model.width * int(np.prod(arrival.flow.window.pruned.shape))
            if size >= self._most:
                self._run(group)
                self._collector = each(self._collector)
                group, size = [], 0
        self._run(group)
        return self._collector

    def _arrivals(self, dataset: InferenceData, passed: int) -> Iterator[_Arrival]:
        reader = SampleReader(self._model.stock)
        for number, item in enumerate(samples_of(dataset)):
            if number < passed:
                continue
            sample = reader.read(item, number)
            if not sample.starts:
                msg = f"sample {number} continues the one before"
                raise UncutError(msg)
            rows = np.ones(0, bool) if sample.mask is None else sample.mask.reshape(-1)
            window = CalibrationWindow({k: np.array(v) for k, v in sample.values.items()}, rows, sample.digest())
            try:
                flow = self._model.start([window])[0]
            except RuntimeError as e:
                raise self._misfit(number, window, e) from e
            yield _Arrival(number, sample.mask, flow)

    def _misfit(self, number: int, window: CalibrationWindow, error: RuntimeError) -> BadDatasetError:
        return BadDatasetError(misfit(f"sample {number} does not fit the model", self._model.stock.inputs, window.inputs, error))

    def _run(self, group: list[_Arrival]) -> None:
        done = self._done * (self._model.blocks + 1)
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
        self._done += len(group)

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
