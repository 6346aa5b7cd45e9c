"""What `lm_head="auto"` means: the output projection is not pruned, and goes through our op where that is faster. ADR 0043."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.config import AUTO, SparsityConfig
from scap_ov.fitting.thresholds import NOTHING
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.scoping import names_head
from scap_ov.sites import Site, SiteKind

if TYPE_CHECKING:
    from scap_ov.statistics.profile import CalibrationProfile


def decided(profile: CalibrationProfile, config: SparsityConfig) -> SparsityConfig:
    """The configuration with `lm_head` true or false instead of auto: true where a target or ignored_scope names the projection."""
    return replace(config, lm_head=names_head(profile.sites, config)) if config.lm_head == AUTO else config


def with_dense_head(plan: SparsityPlan, sites: tuple[Site, ...]) -> SparsityPlan:
    """The plan with an entry that drops nothing for an output projection that `auto` leaves whole: our op may be faster there.

    :param sites: of the model.
    """
    config = plan.config
    ignored = bool(config.ignored_scope) and names_head(sites, replace(config, target_sparsity=0.5, levels=()))
    if config.lm_head != AUTO or config.method == "cats" or ignored:
        return plan
    found = [site for site in _heads(sites) if site.name not in plan.widest().entries]
    nothing, zero = np.full(1, NOTHING, np.float32), np.zeros(1, np.float32)
    added = {site.name: SitePlan(site.name, nothing, zero, 0.0) for site in found}
    known = {site.name for site in plan.sites}
    levels = {level: entries | added for level, entries in plan.levels.items()}
    more = tuple(site for site in found if site.name not in known)
    return replace(plan, sites=plan.sites + more, entries=plan.entries | added, levels=levels)


def _heads(sites: tuple[Site, ...]) -> list[Site]:
    return [site for site in sites if site.kind is SiteKind.LM_HEAD]
