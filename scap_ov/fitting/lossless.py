"""The plan that drops nothing: for layers that our ops compute faster than stock as they are. Needs no data."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.fitting.thresholds import NOTHING
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.scoping import found_sites, sites_in_scope
from scap_ov.sites import Site


def lossless_plan(sites: Iterable[Site], config: SparsityConfig, fingerprint: str) -> SparsityPlan:
    """An entry that drops nothing for every site in scope.

    :param sites: of the model.
    :param config: with targets of 0.
    :raises UsageError: compensation is asked for, or a pattern matches nothing.
    """
    if config.compensation:
        msg = "compensation makes up for what is dropped, and target_sparsity 0 drops nothing; leave one of them out"
        raise UsageError(msg)
    found = found_sites(sites, config)
    nothing, zero = np.full(1, NOTHING, np.float32), np.zeros(1, np.float32)
    entries = {site.name: SitePlan(site.name, nothing, zero, 0.0) for site in sites_in_scope(found, config)}
    return SparsityPlan(config, fingerprint, found, entries, {"lossless": True})
