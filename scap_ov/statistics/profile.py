"""CalibrationProfile: what `observe` saw of every site, in one bounded file from which every method can be fitted.

Size: a site of K input channels keeps up to `capacity` rows of K float16 values, 40 bytes a channel of moments, 140 bytes a
channel about its weights, and 20 kB for each histogram. `capacity_for` chooses the rows so that the whole file stays below 256 MB, or
0.15 of the weights where that is more: 1,200 rows for a model of 135M parameters, 600 for 0.5B in int8, 300 for 8B in int4. Memory while
observing is the same and does not grow with the amount of data. Merging the profiles of shards gives, bit for bit, the profile of one
pass over all samples.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scap_ov.arguments import check_type
from scap_ov.errors import MismatchError, UsageError
from scap_ov.numbers_file import Kind, read_numbers, told_if_damaged, write_numbers
from scap_ov.plan import site_from_dict
from scap_ov.statistics.checked import check_statistics, check_tables
from scap_ov.statistics.observers import OBSERVERS
from scap_ov.statistics.observers.moments import from_fixed_point
from scap_ov.statistics.observers.reservoir import share_of_common_rows
from scap_ov.statistics.shards import check_shards, joined_shards, missing_shards, parts_of_one_cut, shard_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scap_ov.sites import Site

_log = logging.getLogger(__name__)
PROFILE_VERSION = 1
_KIND = Kind("scap_ov_profile", "calibration profile", "`scap-ov calibrate`", PROFILE_VERSION)
LEAST_BYTES, SHARE = 256_000_000, 0.15  # of the file; of the weights
_FIXED_BYTES = 180  # a channel, beside its rows
_SITE_BYTES = 50_000  # a site: two histograms and the names
MOST_ROWS, LEAST_ROWS = 2048, 64
SHARDS = "shards"  # metadata: which parts of the data this profile is of; gone when all are there
MOST_COMMON = 0.05  # of the rows that two profiles keep; up to here it may be lines that texts repeat, and is told of only
_COUNTED = ("samples", "tokens", "sensitivity_tokens", "sensitivity_forwards")  # metadata that adds up


@dataclass(frozen=True)
class SiteStatistics:
    """Statistics of one site's input; `tensors` holds the observers' fields and the summary of the weights.

    :param count: rows seen; the exempt first position of a sequence is never among them.
    :param tensors: by name; `gate_histogram` (of |act(gate)|, for CATS) only where a gated FFN feeds the site, `expert_tokens` (tokens
        that used each expert, int64 [E]) only of routed experts' gate and up.
    """

    count: int
    tensors: Mapping[str, np.ndarray]

    @property
    def rows(self) -> np.ndarray:
        """A uniform sample of the rows, float32 [R, K]; a copy."""
        return self.tensors["rows"].astype(np.float32)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each channel over all rows, float64 [K]."""
        return from_fixed_point(self.tensors["sum"]) / self.count

    @property
    def variance(self) -> np.ndarray:
        """Variance of each channel over all rows, float64 [K]."""
        return np.maximum(from_fixed_point(self.tensors["sum_of_squares"]) / self.count - self.mean**2, 0.0)

    @property
    def histogram(self) -> np.ndarray:
        """Counts of all values, int64; `calibration.observers.histogram.bin_edges` gives the bins."""
        return self.tensors["histogram"]

    @property
    def column_norm(self) -> np.ndarray:
        """‖W[:, k]‖₂ over all outputs of the site, float32 [K]."""
        return self.tensors["column_norm"]

    @property
    def sketch(self) -> np.ndarray:
        """Random projection of W, float32 [64, K]: |sketch @ d|² estimates |W @ d|²."""
        return self.tensors["sketch"].astype(np.float32)


@dataclass(frozen=True)
class CalibrationProfile:
    """Statistics of all sites of one model.

    :param fingerprint: of the model.
    :param sites: all sites that were found, the output projection among them.
    :param statistics: by site name.
    :param capacity: most rows that a site keeps.
    :param sensitivity: by site name, arrays over a grid of sparsities; empty until they are measured.
    :param metadata: plain JSON values: `samples`, `tokens`, `sequential`.
    """

    fingerprint: str
    sites: tuple[Site, ...]
    statistics: Mapping[str, SiteStatistics]
    capacity: int
    sensitivity: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def with_sensitivity(self, sensitivity: Mapping[str, Mapping[str, np.ndarray]], **metadata: object) -> CalibrationProfile:
        """The same profile with these tables; `metadata` is added to its own.

        :raises UsageError: a table is of no site of this profile.
        """
        foreign = sorted(set(sensitivity) - set(self.statistics))
        if foreign:
            msg = f"sensitivity tables of unknown sites: {', '.join(foreign)}; the profile has {', '.join(self.statistics)}"
            raise UsageError(msg)
        return replace(self, sensitivity=dict(sensitivity), metadata={**self.metadata, **metadata})

    def merge(self, *others: CalibrationProfile) -> CalibrationProfile:
        """The profile of one pass over the data of all of them, bit for bit, whatever the order.

        Sensitivity tables are averaged, up to rounding.

        :raises MismatchError: they are of different models, or sequential, or of the same shard or the same data.
        """
        profiles = (self, *others)
        for profile in others:
            check_type("what is to be merged", profile, CalibrationProfile, "profiles; CalibrationProfile.load reads one from a file")
        for (i, a), (j, b) in combinations(enumerate(profiles, 1), 2):
            _refuse_strangers(a, b)
            joined_shards(*_shards(a, b))
            _refuse_same_data(a, b, f"profiles {i} and {j} of those given")
        return reduce(_merge_two, profiles)

    def continued(self, later: CalibrationProfile) -> CalibrationProfile:
        """`merge` with what the same pass over the data saw later on, where samples may come again as the data has them.

        :raises MismatchError: they are of different models, or sequential.
        """
        _refuse_strangers(self, later)
        return _merge_two(self, later)

    def of_shard(self, name: str) -> CalibrationProfile:
        """The same profile, marked as that of one shard of the data, such as `3/16`; `merge` takes each once.

        :raises UsageError: there is no such shard.
        """
        return replace(self, metadata={**self.metadata, SHARDS: ["{}/{}".format(*shard_numbers(name))]})

    @property
    def missing_shards(self) -> list[str]:
        """Shards that are still to be merged; none where the data was not cut into shards, or all are there."""
        return missing_shards(self.metadata.get(SHARDS, []))

    def save(self, path: str | Path) -> None:
        """Write as one safetensors file; bit-identical for equal profiles; the file appears only when it is complete.

        :raises OutputError: writing failed.
        """
        meta = {
            "version": PROFILE_VERSION,
            "fingerprint": self.fingerprint,
            "sites": [asdict(s) for s in self.sites],
            "counts": {n: s.count for n, s in self.statistics.items()},
            "capacity": self.capacity,
            "metadata": dict(self.metadata),
        }
        tensors = {f"{name}/{key}": value for name, s in self.statistics.items() for key, value in s.tensors.items()}
        tensors |= {f"{name}/sensitivity/{key}": np.asarray(value) for name, t in self.sensitivity.items() for key, value in t.items()}
        write_numbers(path, _KIND, meta, tensors)

    @classmethod
    def load(cls, path: str | Path) -> CalibrationProfile:
        """Read a profile that `save` wrote.

        :raises UsageError: the file is no profile, or of a newer version.
        """
        meta, tensors = read_numbers(path, _KIND)
        with told_if_damaged(path, _KIND):
            own: dict[str, dict[str, np.ndarray]] = {name: {} for name in meta["counts"]}
            sensitivity: dict[str, dict[str, np.ndarray]] = {}
            for key, value in tensors.items():
                name, _, rest = key.partition("/")
                table, _, item = rest.rpartition("/")
                (sensitivity.setdefault(name, {}) if table else own[name])[item] = value
            sites = tuple(site_from_dict(s) for s in meta["sites"])
            needed = {name for observer in OBSERVERS for name in observer.fields} | {"column_norm", "sketch"}
            lost = next((f"{s.name}/{name}" for s in sites for name in sorted(needed - own[s.name].keys())), None)
            if lost is not None:
                raise KeyError(lost)
            statistics = {s.name: SiteStatistics(int(meta["counts"][s.name]), own[s.name]) for s in sites}
            check_statistics(sites, own)
            check_tables(statistics, sensitivity)
            check_shards(meta["metadata"].get(SHARDS, []))
            return cls(str(meta["fingerprint"]), sites, statistics, int(meta["capacity"]), sensitivity, dict(meta["metadata"]))


def capacity_for(sites: Iterable[Site], budget: int | None = None) -> int:
    """Rows to keep per site so that a profile takes at most `budget` bytes (and never fewer than 64 rows).

    :param budget: None for LEAST_BYTES, or SHARE of the sites' weights where that is more.
    """
    sites = list(sites)
    if budget is None:
        weights = sum(layer.in_features * layer.out_features * layer.weight.bits // 8 for site in sites for layer in site.layers)
        budget = max(LEAST_BYTES, int(SHARE * weights))
    channels = sum(site.in_features for site in sites)
    room = budget - _FIXED_BYTES * channels - _SITE_BYTES * len(sites)
    return int(min(MOST_ROWS, max(LEAST_ROWS, room // max(2 * channels, 1))))


def _refuse_strangers(a: CalibrationProfile, b: CalibrationProfile) -> None:
    if a.fingerprint != b.fingerprint or a.sites != b.sites:
        msg = (
            f"profiles of different models cannot be merged (fingerprints {a.fingerprint[:12]} and {b.fingerprint[:12]}); "
            "calibrate every shard of the data on the same model file"
        )
        raise MismatchError(msg)
    if a.metadata.get("sequential") or b.metadata.get("sequential"):
        msg = "sequential profiles cannot be merged, each was observed under its own thresholds; merge one-pass profiles, then refit"
        raise MismatchError(msg)


def _refuse_same_data(a: CalibrationProfile, b: CalibrationProfile, which: str) -> None:
    """Told by the rows that both keep. Shards of one cut have in common only what the data itself repeats, which is no fault."""
    name = max(a.statistics, key=lambda site: a.statistics[site].count)
    one, two = a.statistics[name], b.statistics[name]
    share = share_of_common_rows(one.tensors, two.tensors)
    if one.count == two.count and share == 1:
        msg = f"{which} are of the same data, which would count twice; give each once"
        raise MismatchError(msg)
    if not share or parts_of_one_cut(*_shards(a, b)):
        return
    found = f"{share:.{0 if share > MOST_COMMON else 1}%} of the rows that one of {which} keeps are in the other too"
    if share > MOST_COMMON:
        msg = (
            f"{found}, so their data overlaps and would count twice; "
            "calibrate on parts that do not overlap, as --shard 1/2 and 2/2 make them"
        )
        raise MismatchError(msg)
    _log.warning("%s: texts that are in both count twice", found)


def _shards(a: CalibrationProfile, b: CalibrationProfile) -> tuple[list[str], list[str]]:
    return a.metadata.get(SHARDS, []), b.metadata.get(SHARDS, [])


def _merge_two(a: CalibrationProfile, b: CalibrationProfile) -> CalibrationProfile:
    shards = joined_shards(*_shards(a, b))
    capacity = min(a.capacity, b.capacity)
    statistics = {name: _merge_site(a.statistics[name], b.statistics[name], capacity) for name in a.statistics}
    counted = {key: a.metadata.get(key, 0) + b.metadata.get(key, 0) for key in _COUNTED if key in a.metadata or key in b.metadata}
    tables = _merge_tables(a, b)
    metadata = {key: value for key, value in {**a.metadata, **counted}.items() if key != SHARDS}
    merged = CalibrationProfile(a.fingerprint, a.sites, statistics, capacity, tables, {**metadata, SHARDS: shards})
    return merged if merged.missing_shards else replace(merged, metadata=metadata)


def _merge_tables(a: CalibrationProfile, b: CalibrationProfile) -> dict[str, dict[str, np.ndarray]]:
    """Sensitivities averaged over the tokens that they were measured on; what only one profile holds is dropped."""
    weights = np.array([max(p.metadata.get("sensitivity_tokens", 0), 1) for p in (a, b)], np.float64)
    merged = {}
    for name in a.sensitivity.keys() & b.sensitivity.keys():
        one, two = a.sensitivity[name], b.sensitivity[name]
        if one.keys() == two.keys() and all(one[key].shape == two[key].shape for key in one) and np.array_equal(one["level"], two["level"]):
            merged[name] = {key: _average(one[key], two[key], weights) for key in one}
    return {site.name: merged[site.name] for site in a.sites if site.name in merged}


def _average(one: np.ndarray, two: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Equal arrays stay as they are, bit for bit: the levels that tables are compared by must not move by a rounding."""
    return one if np.array_equal(one, two) else (weights[0] * one + weights[1] * two) / weights.sum()


def _merge_site(a: SiteStatistics, b: SiteStatistics, capacity: int) -> SiteStatistics:
    tensors = dict(a.tensors)  # what is known of the weights is the same in both
    for observer in OBSERVERS:
        tensors |= observer.merge(a.tensors, b.tensors, capacity)
    if "gate_histogram" in tensors:
        tensors["gate_histogram"] = a.tensors["gate_histogram"] + b.tensors["gate_histogram"]
    if "expert_tokens" in tensors:
        tensors["expert_tokens"] = a.tensors["expert_tokens"] + b.tensors["expert_tokens"]
    return SiteStatistics(a.count + b.count, tensors)
