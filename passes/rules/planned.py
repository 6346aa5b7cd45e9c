"""Match a plan to the sites of a graph, and refuse one that does not fit."""

from __future__ import annotations

import numpy as np

from scap_ov.errors import MismatchError
from scap_ov.passes.rules.sites import FoundSites, SiteMatch
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import Site


def planned(found: FoundSites, plan: SparsityPlan) -> dict[str, SiteMatch]:
    """All sites by name, after checking that those of the plan are there.

    :raises MismatchError: one is missing, or has another size.
    :raises UsageError: the plan holds numbers that no fit gives.
    """
    matches = {match.site.name: match for match in found.matches}
    for name, entry in plan.entries.items():
        if name not in matches:
            msg = f"the plan prunes the site {name}, which the model does not have; fit a plan to a profile of this model"
            raise MismatchError(msg)
        if entry.site != name:
            msg = f"the plan's entry of {name} says that it is of {entry.site}; fit the plan again"
            raise MismatchError(msg)
        entry.check()
        _check_sizes(matches[name], entry)
    return matches


def site_compensation(own: Site, entry: SitePlan, plan: SparsityPlan) -> list[np.ndarray] | None:
    """The compensation of each layer of a site, float32 [N]; the plan's layers may be in another order than the graph's, `own`."""
    if entry.compensation is None:
        return None
    site = next(s for s in plan.sites if s.name == entry.site)
    ends = np.cumsum([layer.out_features for layer in site.layers])
    parts = np.split(np.asarray(entry.compensation, np.float32), ends[:-1])
    if [layer.name for layer in site.layers] == [layer.name for layer in own.layers]:  # names may be equal, their order tells them apart
        return parts
    named = dict(zip([layer.name for layer in site.layers], parts, strict=True))
    return [named[layer.name] for layer in own.layers]


def _check_sizes(match: SiteMatch, entry: SitePlan) -> None:
    k, n = match.site.in_features, match.site.out_features
    for what, value, sizes in (
        ("threshold", entry.threshold, (1, k)),
        ("whole_threshold", entry.whole_threshold, (1, k)),
        ("center", entry.center, (1, k)),
        ("compensation", entry.compensation, (n,)),
    ):
        if value is not None and (value.ndim != 1 or value.size not in sizes):
            wanted = " or ".join(f"[{s}]" for s in sizes)
            msg = f"the plan's {what} of {entry.site} has shape {list(value.shape)}, the model needs {wanted}; fit it again"
            raise MismatchError(msg)
