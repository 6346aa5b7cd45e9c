"""SparsityPlan: what `fit` decided for every site. A file of numbers; applying it needs no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.json_values import JsonMapping, JsonObject
from scap_ov.numbers_file import Kind, read_numbers, told_if_damaged, write_numbers
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec

PLAN_VERSION = 4  # 2: entries with a whole_threshold; 3: levels; 4: experts; a plan is of the lowest version that knows what it holds
LARGEST_CENTER = 1e8  # larger activations are refused when they are observed
_ROUNDING = 1e-6  # of shares
LEFT_STOCK = "left_stock"  # in a plan's notes: what replace="where_faster" decided by measuring, site -> reason
SPARSE_ROWS = "sparse_rows"  # likewise: site -> most rows of a step that it prunes
_LEVEL = "level:"  # begins the names of tensors of a level
_KIND = Kind("scap_ov_plan", "sparsity plan", "SparsityPlan.save", PLAN_VERSION)


@dataclass(frozen=True)
class SitePlan:
    """Numbers of one site. An entry x[k] is dropped, that is replaced by center[k], where |x[k] - center[k]| <= threshold[k].

    Where there is a whole_threshold, an entry above the threshold is read whole only above that too, and by half up to it.

    :param site: name of the site.
    :param threshold: float32, shape [1] or [K]; negative means that nothing is dropped.
    :param center: float32, shape [1] or [K].
    :param compensation: float32 [N] added to the output of pruned rows only, or None. N runs over the site's layers in order.
    :param expected_sparsity: share of the weight bytes that calibration predicts not to be read: of the entries that are dropped, and
        half of those that are read by half.
    :param whole_threshold: float32 [1] or [K], or None for pruning alone.
    :param expected_dropped: share of entries; None stands for expected_sparsity, as it is without a whole_threshold.
    :param expected_half: share of entries that are read by half.
    """

    site: str
    threshold: np.ndarray
    center: np.ndarray
    expected_sparsity: float
    compensation: np.ndarray | None = None
    whole_threshold: np.ndarray | None = None
    expected_dropped: float | None = None
    expected_half: float = 0.0

    def check(self) -> None:
        """Refuse numbers that no fit gives.

        :raises UsageError: a value is NaN, infinite, or out of its range; says which.
        """
        shares = {
            "expected_sparsity": self.expected_sparsity,
            "expected_dropped": self.expected_dropped,
            "expected_half": self.expected_half,
        }
        for what, share in shares.items():
            if share is None and what == "expected_dropped":
                continue
            number = isinstance(share, (int, float, np.number)) and not isinstance(share, bool)
            if share is None or not (number and -_ROUNDING <= share <= 1 + _ROUNDING):
                msg = f"the plan's {what} of {self.site} is {share!r}; it is a share from 0 to 1, so fit the plan again"
                raise UsageError(msg)
        for what, value, may_miss in (
            ("threshold", self.threshold, False),
            ("center", self.center, False),
            ("compensation", self.compensation, True),
            ("whole_threshold", self.whole_threshold, True),
        ):
            if value is None and may_miss:
                continue
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
                told = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
                msg = f"the plan's {what} of {self.site} is {told}; it is an array of numbers, so fit the plan again"
                raise UsageError(msg)
            with np.errstate(over="ignore"):
                numbers = value.astype(np.float32)  # as it is computed with
            refused = np.isnan(numbers) if what == "whole_threshold" else ~np.isfinite(numbers)
            if refused.any():
                where = "" if what == "whole_threshold" else "numbers are finite there, so "
                msg = f"the plan's {what} of {self.site} holds {value[refused].reshape(-1)[0]}; {where}fit the plan again"
                raise UsageError(msg)
        if np.abs(self.center).max(initial=0) > LARGEST_CENTER:
            most = np.abs(self.center).max()
            msg = f"the plan's center of {self.site} is {most:.1e}; no activation is beyond {LARGEST_CENTER:.0e}, so fit the plan again"
            raise UsageError(msg)

    @property
    def drops_nothing(self) -> bool:
        """Whether every channel is read whole."""
        return bool(self.threshold.max() < 0 and (self.whole_threshold is None or self.whole_threshold.max() < 0))

    def scaled(self, factor: float) -> SitePlan:
        """The same with both thresholds multiplied."""
        whole = None if self.whole_threshold is None else (self.whole_threshold * factor).astype(np.float32)
        return replace(self, threshold=(self.threshold * factor).astype(np.float32), whole_threshold=whole)

    def expected_reads(self) -> dict[str, float]:
        """Shares of the channels that are `dropped`, read by `half`, and read `whole`."""
        dropped = self.expected_sparsity if self.expected_dropped is None else self.expected_dropped
        return {"dropped": dropped, "half": self.expected_half, "whole": 1 - dropped - self.expected_half}


@dataclass(frozen=True)
class SparsityPlan:
    """The fitted plan of a model.

    :param config: what it was fitted with.
    :param fingerprint: of the model, see passes.openvino.find_sites.fingerprint.
    :param sites: all that were found.
    :param entries: by site name; a site without one stays stock.
    :param notes: how it was made: forward passes used, warnings; plain JSON values.
    :param levels: entries of each level, where the configuration asks for several; `entries` are those of `start_level` then.
    :param experts: routed experts that a token is to use, by site, where that is fewer than the model's router chooses; `sites` have these
        numbers already.
    """

    config: SparsityConfig
    fingerprint: str
    sites: tuple[Site, ...]
    entries: dict[str, SitePlan]
    notes: dict[str, Any] = field(default_factory=dict)
    levels: dict[float, dict[str, SitePlan]] = field(default_factory=dict)
    experts: dict[str, int] = field(default_factory=dict)

    @property
    def start_level(self) -> float:
        """The level that a model starts with, whose entries are `entries`."""
        target = self.config.target_sparsity
        assert not isinstance(target, Mapping)  # noqa: S101 - SparsityConfig lets no mapping beside levels
        return target

    def at(self, level: float) -> SparsityPlan:
        """The plan of one level alone.

        :raises KeyError: there is no such level.
        """
        return replace(self, config=replace(self.config, levels=(), target_sparsity=level), entries=self.levels[level], levels={})

    def widest(self) -> SparsityPlan:
        """A plan without levels that has an entry for every site that any level prunes; it tells which form the ops have.

        The entry is that of the highest level, but one that reads by half where any does.
        """
        entries: dict[str, SitePlan] = {}
        for level in sorted(self.levels):
            for name, entry in self.levels[level].items():
                if entry.whole_threshold is not None or name not in entries or entries[name].whole_threshold is None:
                    entries[name] = entry
        return replace(self, entries=entries, levels={}) if self.levels else self

    @property
    def has_head(self) -> bool:
        """Whether the output projection is one of the sites."""
        return any(site.kind is SiteKind.LM_HEAD for site in self.sites)

    @property
    def counted(self) -> tuple[Site, ...]:
        """The sites over which shares are counted model-wide: all block sites, and the output projection where it is pruned."""
        levels = [self.entries, *self.levels.values()]
        return tuple(
            site for site in self.sites
            if site.kind is not SiteKind.LM_HEAD or any(site.name in own and not own[site.name].drops_nothing for own in levels)
        )  # fmt: skip

    @property
    def left_stock(self) -> Mapping[str, str] | None:
        """Sites that stay stock because the op would lose there, with the reason; None where that was not decided yet (see api.apply)."""
        decided = self.notes.get(LEFT_STOCK)
        return decided if isinstance(decided, dict) else None

    def rows_of(self, site: str) -> int:
        """Most rows of a step that a site prunes: as was decided by measuring, else as configured."""
        decided = self.notes.get(SPARSE_ROWS)
        rows = decided.get(site) if isinstance(decided, dict) else None
        return rows if isinstance(rows, int) and 1 <= rows <= self.config.max_sparse_rows else self.config.max_sparse_rows

    def expected_sparsity(self) -> float:
        """Share of the weight bytes of all sites that count which a token does not read."""
        total = sum(s.weight_bytes for s in self.counted)
        pruned = [s for s in self.sites if s.name in self.entries and s.name not in (self.left_stock or {})]
        unread = sum(s.weight_bytes * self.entries[s.name].expected_sparsity for s in pruned)
        return unread / total if total else 0.0

    def _version(self) -> int:
        if self.experts:
            return 4
        if self.levels:
            return 3
        return 2 if any(entry.whole_threshold is not None for entry in self.entries.values()) else 1

    def save(self, path: str | Path) -> None:
        """Write as one safetensors file; bit-identical for equal plans; the file appears only when it is complete.

        :raises OutputError: writing failed.
        """
        tensors: dict[str, np.ndarray] = {}
        meta: dict[str, Any] = {
            "version": self._version(),
            "config": self.config.to_dict(),
            "fingerprint": self.fingerprint,
            "sites": [asdict(s) for s in self.sites],
            "expected": {},
            "notes": self.notes,
        }
        if self.experts:
            meta["experts"] = self.experts
        _put(self.entries, "", tensors, meta)
        if self.levels:
            meta["levels"] = [{"level": level, "expected": {}} for level in sorted(self.levels)]
            for number, level in enumerate(sorted(self.levels)):
                _put(self.levels[level], f"{_LEVEL}{number}/", tensors, meta["levels"][number])
        write_numbers(path, _KIND, meta, tensors)

    @classmethod
    def load(cls, path: str | Path) -> SparsityPlan:
        """Read a plan that `save` wrote.

        :raises UsageError: the file is no plan, or of a newer version.
        """
        meta, tensors = read_numbers(path, _KIND)
        with told_if_damaged(path, _KIND):
            entries = _taken("", tensors, meta)
            levels = {
                float(each["level"]): _taken(f"{_LEVEL}{number}/", tensors, each) for number, each in enumerate(meta.get("levels", []))
            }
            sites = tuple(site_from_dict(s) for s in meta["sites"])
            every = [entries, *levels.values()]
            experts = {str(name): int(count) for name, count in meta.get("experts", {}).items()}
            foreign = sorted(set().union(experts, *every) - {site.name for site in sites})
            if foreign:
                msg = f"it prunes {foreign[0]}, which is none of its sites"
                raise ValueError(msg)
            for entry in (entry for each in every for entry in each.values()):
                entry.check()
            config, notes = SparsityConfig.from_dict(meta["config"]), dict(meta["notes"])
            return cls(config, str(meta["fingerprint"]), sites, entries, notes, levels, experts)


def _put(entries: Mapping[str, SitePlan], prefix: str, tensors: dict[str, np.ndarray], meta: JsonObject) -> None:
    """Write entries as tensors, and what is expected of them."""
    for name in sorted(entries):
        entry = entries[name]
        tensors[f"{prefix}{name}/threshold"] = np.ascontiguousarray(entry.threshold, np.float32)
        tensors[f"{prefix}{name}/center"] = np.ascontiguousarray(entry.center, np.float32)
        if entry.compensation is not None:
            tensors[f"{prefix}{name}/compensation"] = np.ascontiguousarray(entry.compensation, np.float32)
        if entry.whole_threshold is not None:
            tensors[f"{prefix}{name}/whole_threshold"] = np.ascontiguousarray(entry.whole_threshold, np.float32)
            meta.setdefault("expected_reads", {})[name] = [entry.expected_dropped, entry.expected_half]
        meta["expected"][name] = entry.expected_sparsity


def _taken(prefix: str, tensors: Mapping[str, np.ndarray], meta: JsonMapping) -> dict[str, SitePlan]:
    """Inverse of `_put`."""
    reads = meta.get("expected_reads", {})
    return {
        name: SitePlan(name, tensors[f"{prefix}{name}/threshold"], tensors[f"{prefix}{name}/center"], expected,
                       tensors.get(f"{prefix}{name}/compensation"), tensors.get(f"{prefix}{name}/whole_threshold"), *reads.get(name, ()))
        for name, expected in meta["expected"].items()
    }  # fmt: skip


def site_from_dict(values: JsonObject) -> Site:
    """Inverse of `dataclasses.asdict` for a Site."""
    layers = tuple(Layer(v["name"], v["in_features"], v["out_features"], WeightSpec(**v["weight"])) for v in values["layers"])
    return Site(
        values["name"], SiteKind(values["kind"]), values["block"], layers, values.get("experts", 0), values.get("experts_per_token", 0)
    )
