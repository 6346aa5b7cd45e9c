"""Fit a SparsityPlan to a CalibrationProfile. After: calibration.observe. Before: passes.openvino.insert_sparsity."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.fitting.allocation import ALLOCATIONS
from scap_ov.fitting.criteria import CRITERIA, Criterion
from scap_ov.fitting.drift import drift_ratios, knows_drift
from scap_ov.fitting.fewer_experts import choose, with_experts
from scap_ov.fitting.lossless import lossless_plan
from scap_ov.fitting.output_projection import decided
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.progress import Progress
from scap_ov.scoping import found_sites, sites_in_scope, target_groups
from scap_ov.sites import SiteKind

if TYPE_CHECKING:
    from scap_ov.statistics.profile import CalibrationProfile


def fit(profile: CalibrationProfile, config: SparsityConfig | None = None, *, progress: Progress | None = None) -> SparsityPlan:
    """Decide centre and threshold of every site. Pure numpy; the same profile and configuration give the same bits.

    1. The target is a mean over the sites in scope, weighted by weight bytes; `plan.expected_sparsity()` counts all block sites, and the
       output projection where it is pruned.
    2. The method allots the target to the sites of each target group, then fits every site on the profile's rows.
    3. A site that is allotted nothing gets no entry and stays stock, unless `replace` is `always`: then its entry drops nothing.
    4. With `levels`, every level is a fit of its own; the plan's entries are those of the level that a model starts with.
    5. With `fewer_experts`, all of this is done on the model that is left.

    :param progress: called with (sites done, sites), of all levels.
    :raises UsageError: the configuration names sites that are not there, or asks for what the method cannot do.
    """
    config = SparsityConfig() if config is None else config
    if config.fewer_experts:
        return _fit_fewer(profile, config, progress)
    if not config.levels:
        return _fit(profile, config, progress)
    plans: dict[float, SparsityPlan] = {}
    for number, level in enumerate(config.levels):
        own = replace(config, levels=(), target_sparsity=level)
        plans[level] = _fit(profile, own, _part(progress, number, len(config.levels)))
    start = next(plan for level, plan in plans.items() if level == config.target_sparsity)
    return replace(start, config=config, levels={level: plan.entries for level, plan in plans.items()})


def _fit_fewer(profile: CalibrationProfile, config: SparsityConfig, progress: Progress | None) -> SparsityPlan:
    """Rule 5."""
    choice = choose(profile, config.fewer_experts)
    left = replace(profile, sites=with_experts(profile.sites, choice.used))
    rest = replace(config, fewer_experts=0.0)
    nothing = rest.prunes_nothing
    plan = lossless_plan(left.sites, rest, profile.fingerprint) if nothing else fit(left, rest, progress=progress)
    used = {s.name: [choice.used[s.name], s.experts_per_token] for s in profile.sites if s.name in choice.used}
    notes = {"fewer_experts": {"used": used, "expected_loss": choice.loss}}
    return replace(plan, config=config, experts=choice.used, notes={**plan.notes, **notes})


def _part(progress: Progress | None, number: int, parts: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total: progress(number * (total or 0) + done, parts * (total or 0))


def _fit(profile: CalibrationProfile, config: SparsityConfig, progress: Progress | None) -> SparsityPlan:
    criterion = criterion_for(config)
    shares = allocated_shares(profile, config, criterion)
    sites = found_sites(profile.sites, decided(profile, config))
    pruned = {name: share for name, share in shares.items() if share > 0}
    heads = {site.name for site in sites if site.kind is SiteKind.LM_HEAD}  # nothing lies behind them that could drift
    behind = {name: share for name, share in pruned.items() if name not in heads}
    corrected = config.drift_correction and criterion.name != "cats" and knows_drift(profile, list(behind))
    ratios = drift_ratios(profile, behind, criterion) if corrected else {}
    entries: dict[str, SitePlan] = {}
    for done, site in enumerate(sites, start=1):
        share = shares.get(site.name, -1.0)
        if share > 0 or (share == 0 and config.replace == "always"):
            entry = fit_site(profile, site.name, share, criterion)
            if entry.whole_threshold is None:  # reading by half shrinks nothing: of 50 % asked 49.8 % are not read, of 65 % 64.8 %
                entry = entry.scaled(ratios.get(site.name, 1.0))
            entries[site.name] = entry
        if progress:
            progress(done, len(sites))
    notes = {"calibration": dict(profile.metadata), "drift_correction": corrected, **criterion.notes()}
    routed = {name: statistics.tensors.get("expert_tokens") for name, statistics in profile.statistics.items()}
    if any(tokens is not None for tokens in routed.values()):
        notes["expert_tokens"] = {name: [int(n) for n in tokens] for name, tokens in routed.items() if tokens is not None}
    if criterion.allocation == "sensitivity":
        notes["allocation"] = "sensitivity" if all(name in profile.sensitivity for name in shares) else "kind offsets"
    unknown = [s.name for s in sites if s.name in entries and s.two_planes and entries[s.name].whole_threshold is None]
    if criterion.name == "graded" and unknown:
        notes["pruned_only"] = f"{len(unknown)} sites: the profile does not tell what reading by half costs there; calibrate again"
    return SparsityPlan(config, profile.fingerprint, sites, entries, notes)


def criterion_for(config: SparsityConfig) -> Criterion:
    """The method of a configuration.

    :raises UsageError: options are set that the method does not have.
    """
    if config.center != "zero" and config.method != "scap":
        msg = f"center '{config.center}' belongs to method 'scap'; method '{config.method}' has its own, so leave center out"
        raise UsageError(msg)
    return CRITERIA[config.method](config)


def allocated_shares(profile: CalibrationProfile, config: SparsityConfig, criterion: Criterion) -> dict[str, float]:
    """The sparsity of each site in scope.

    :return: by site name, in [0, 1).
    """
    config = decided(profile, config)
    in_scope = sites_in_scope(profile.sites, config)
    shares: dict[str, float] = {}
    for group in target_groups(in_scope, config):
        shares |= ALLOCATIONS[criterion.allocation](profile, group, criterion)
    return shares


def fit_site(profile: CalibrationProfile, name: str, sparsity: float, criterion: Criterion) -> SitePlan:
    """Fit one site on all rows that the profile keeps of it.

    :param sparsity: share of its weight bytes not to read.
    """
    site = next(s for s in profile.sites if s.name == name)
    statistics = profile.statistics[name]
    rows = statistics.rows
    found = criterion.fit_site(site, rows, statistics, sparsity)
    expected = criterion.expected_sparsity(site, rows, found, sparsity)
    dropped, half = found.shares(rows)
    graded = found.whole_threshold is not None
    return SitePlan(name, found.threshold, found.center, expected, None, found.whole_threshold, dropped if graded else None, half)
