"""TEAL's block-wise greedy allocation: step by step, raise the sparsity of the site whose step hurts the block least."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.errors import UsageError
from scap_ov.fitting.output_error import error_curve, output_energy
from scap_ov.sites import Site, SiteKind

if TYPE_CHECKING:
    from scap_ov.fitting.criteria.base import Criterion
    from scap_ov.scoping import TargetGroup
    from scap_ov.statistics.profile import CalibrationProfile

STEP = 0.05  # of the block's largest matrix; a smaller one steps further, so that every step drops about the same number of weights
MAX_SPARSITY = 0.95
_LEVELS = np.concatenate([np.arange(0, MAX_SPARSITY, 0.05), [MAX_SPARSITY]])
# The error of a site reaches the residual stream through the site that writes to it.
_WRITER = {SiteKind.QKV: SiteKind.O, SiteKind.UP: SiteKind.DOWN, SiteKind.EXPERT_UP: SiteKind.EXPERT_DOWN}


def allocate_greedy(profile: CalibrationProfile, group: TargetGroup, criterion: Criterion) -> dict[str, float]:
    """Every block is given the target; inside it the sites share it unevenly.

    1. The error of a block is the sum over its sites of (relative output error of the site) · (energy of the output that it feeds
       into the residual stream: its own for o and down, o's for qkv, down's for up).
    2. Each step raises one site by STEP · (weights of the block's largest site / its own weights), at most to MAX_SPARSITY.
    3. The last step is cut so that the block's weighted mean is the target.

    :raises UsageError: the target is above MAX_SPARSITY.
    """
    if group.target > MAX_SPARSITY:
        msg = f"teal drops at most {MAX_SPARSITY:g} of a site, and the target is {group.target:g}; ask for less"
        raise UsageError(msg)
    blocks: dict[int, list[Site]] = {}
    for site in group.sites:
        blocks.setdefault(site.block, []).append(site)
    shares: dict[str, float] = {}
    for sites in blocks.values():
        shares |= _one_block(sites, _curves(profile, sites, criterion), group.target)
    return shares


def _curves(profile: CalibrationProfile, sites: list[Site], criterion: Criterion) -> dict[str, np.ndarray]:
    """Error that each site alone brings into the block's output, at _LEVELS."""
    everywhere = [s for s in profile.sites if s.block == sites[0].block]
    energy = {s.kind: output_energy(profile.statistics[s.name]) for s in everywhere}
    curves = {}
    for site in sites:
        own = output_energy(profile.statistics[site.name])
        through = energy.get(_WRITER.get(site.kind, site.kind), own)
        curve = error_curve(site, profile.statistics[site.name], criterion, _LEVELS)
        curves[site.name] = curve * (through / own if own > 0 else 1.0)
    return curves


def _one_block(sites: list[Site], curves: dict[str, np.ndarray], target: float) -> dict[str, float]:
    total = sum(s.weight_count for s in sites)
    largest = max(s.weight_count for s in sites)
    share = {s.name: 0.0 for s in sites}
    left = target * total  # weights still to drop

    def cost(site: Site, level: float) -> float:
        before, after = np.interp([share[site.name], level], _LEVELS, curves[site.name])
        return float(after - before) / max((level - share[site.name]) * site.weight_count, 1e-9)

    while left > 1e-9 * total:
        step = {s.name: min(MAX_SPARSITY, share[s.name] + min(STEP * largest, left) / s.weight_count) for s in sites}
        open_sites = [s for s in sites if step[s.name] > share[s.name]]
        if not open_sites:
            break
        site = min(open_sites, key=lambda s: cost(s, step[s.name]))
        left -= (step[site.name] - share[site.name]) * site.weight_count
        share[site.name] = step[site.name]
    return share
