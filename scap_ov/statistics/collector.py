"""Keep the statistics of all sites while samples stream by, whatever back end runs the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.errors import BadDatasetError
from scap_ov.sites import SiteKind
from scap_ov.statistics.observers import OBSERVERS, HistogramObserver
from scap_ov.statistics.profile import CalibrationProfile, SiteStatistics, capacity_for
from scap_ov.statistics.weight_summary import summarise_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scap_ov.passes.rules.weight_matrix import WeightMatrix
    from scap_ov.sites import Site

LARGEST = 1e8  # squares of larger values would leave the range of the exact sums; no sane activation comes near


@dataclass(frozen=True)
class Sample:
    """The activations of one sample.

    :param values: by name of the tapped tensor, float32 of the tensor's own shape; valid until the next sample.
    :param observed: by name, which rows count, bool [M] with M the product of the leading dimensions.
    :param priority: by name, a hash of each row's origin, uint64 [M].
    """

    values: Mapping[str, np.ndarray]
    observed: Mapping[str, np.ndarray]
    priority: Mapping[str, np.ndarray]

    def rows(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Observed rows of a tensor, float32 [M', K], and their priorities, uint64 [M']."""
        value, keep = self.values[name], self.observed[name]
        return value.reshape(-1, value.shape[-1])[keep], self.priority[name][keep]


class Collector:
    """Observers of every site, and of the activated gate where a sample has a tensor named by `gate_name`."""

    def __init__(self, sites: Sequence[Site], capacity: int) -> None:
        """Start empty.

        :param capacity: rows to keep per site.
        """
        self.samples, self.capacity = 0, capacity
        self.counts = {site.name: 0 for site in sites}
        self._observers = {site.name: [make(site.in_features, capacity) for make in OBSERVERS] for site in sites}
        self._gates: dict[str, HistogramObserver] = {}
        self._routed = {site.name: np.zeros(site.experts, np.int64) for site in sites if site.kind is SiteKind.EXPERT_UP}

    def add(self, sample: Sample) -> None:
        """Take in one sample.

        :raises BadDatasetError: NaN, infinite or absurdly large activations; names the site and the sample.
        """
        for name in self._observers:
            self.take(name, sample, self.samples)
        self.samples += 1

    def take(self, name: str, sample: Sample, number: int) -> None:
        """Take in what a sample holds of one site, for models that give one site after the other; `samples` is then the caller's to count.

        :param number: of the sample, for messages.
        :raises BadDatasetError: as `add`.
        """
        rows, priority = sample.rows(name)
        if not len(rows):
            return
        self._check(rows, name, number)
        self.counts[name] += len(rows)
        for observer in self._observers[name]:
            observer.update(rows, priority)
        if name in self._routed and expert_name(name) in sample.values:
            used = sample.rows(expert_name(name))[0].reshape(-1)
            self._routed[name] += np.bincount(used, minlength=len(self._routed[name]))
        if gate_name(name) in sample.values:
            gate = sample.rows(gate_name(name))[0]
            self._gates.setdefault(name, HistogramObserver()).update(np.abs(gate))

    def check_counts(self) -> None:
        """Refuse to end without data.

        :raises BadDatasetError: there was no sample, or none gave a row to some site.
        """
        if not self.samples:
            msg = "the calibration dataset is empty; give at least one sample"
            raise BadDatasetError(msg)
        bare = [name for name, count in self.counts.items() if not count]
        if bare:
            msg = (
                f"the {self.samples} calibration samples gave no row to {len(bare)} of {len(self.counts)} sites ({', '.join(bare[:3])}); "
                "the first token of a sequence does not count, so give samples of two tokens and more"
            )
            raise BadDatasetError(msg)

    def finish(self, site: Site, weights: Iterable[WeightMatrix | np.ndarray]) -> SiteStatistics:
        """Statistics of one site; its observers are let go.

        :param weights: of the site's layers in order, float [N_i, K].
        """
        tensors = {key: value for observer in self._observers.pop(site.name) for key, value in observer.result().items()}
        tensors |= summarise_weights(weights, site.in_features)
        if site.name in self._routed:
            tensors["expert_tokens"] = self._routed[site.name]
        if site.name in self._gates:
            tensors["gate_histogram"] = self._gates[site.name].result()["histogram"]
        return SiteStatistics(self.counts[site.name], tensors)

    def _check(self, rows: np.ndarray, name: str, number: int) -> None:
        peak = float(np.abs(rows).max())
        if not peak <= LARGEST:  # also true for NaN
            what = "NaN" if np.isnan(peak) else "infinite values" if np.isinf(peak) else f"values of {peak:.1e}"
            msg = f"the input of site {name} has {what} on sample {number}; check the sample's inputs and the model's weights"
            raise BadDatasetError(msg)


def collect(
    found: Sequence[tuple[Site, Iterable[WeightMatrix | np.ndarray]]], samples: Iterable[Sample], fingerprint: str, capacity: int | None
) -> CalibrationProfile:
    """The profile of a stream of samples.

    :param found: every site, and the weights of its layers in order, float [N_i, K].
    :param fingerprint: of the model.
    :param capacity: rows to keep per site; None for what `profile.capacity_for` allows.
    :raises BadDatasetError: there is nothing to observe, or what is observed is no activation.
    """
    sites = tuple(site for site, _ in found)
    collector = Collector(sites, capacity_for(sites) if capacity is None else capacity)
    for sample in samples:
        collector.add(sample)
    return finished(collector, found, fingerprint)


def finished(
    collector: Collector, found: Sequence[tuple[Site, Iterable[WeightMatrix | np.ndarray]]], fingerprint: str
) -> CalibrationProfile:
    """The profile of what a collector has taken in; the parameters are those of `collect`."""
    collector.check_counts()
    statistics = {site.name: collector.finish(site, weights) for site, weights in found}
    metadata = {"samples": collector.samples, "tokens": max(collector.counts.values()), "sequential": False}
    return CalibrationProfile(fingerprint, tuple(site for site, _ in found), statistics, collector.capacity, {}, metadata)


def expert_name(site: str) -> str:
    """Name of the tensor [T, k] with the experts that each token uses, of an `expert_up` site."""
    return f"{site}/experts"


def routing_name(site: str) -> str:
    """Name of the tensor [T, k] with the weights of the experts that each token uses, of an `expert_up` site."""
    return f"{site}/routing"


def gate_name(site: str) -> str:
    """Name of the tensor act(gate) of a `down` site."""
    return f"{site}|gate"
