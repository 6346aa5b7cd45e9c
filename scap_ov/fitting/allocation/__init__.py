"""How a target is spread over the sites of a group. A new strategy is a file here and a line in ALLOCATIONS.

The contract: `allocate(profile, group, criterion) -> {site name: sparsity}` for every site of the group, each in [0, 1),
their mean weighted by weight count equal to `group.target` within half a point; UsageError when that cannot be.
"""

from collections.abc import Callable

from scap_ov.fitting.allocation.cats import allocate_cats
from scap_ov.fitting.allocation.greedy import allocate_greedy
from scap_ov.fitting.allocation.kind_offsets import allocate_by_kind
from scap_ov.fitting.allocation.uniform import allocate_uniform
from scap_ov.fitting.criteria.base import Criterion
from scap_ov.scoping import TargetGroup
from scap_ov.statistics.profile import CalibrationProfile

Allocation = Callable[[CalibrationProfile, TargetGroup, Criterion], dict[str, float]]


def allocate_adaptive(profile: CalibrationProfile, group: TargetGroup, criterion: Criterion) -> dict[str, float]:
    """By the measured sensitivity of the model's output where the profile holds it, else by what is usual for each kind of site."""
    if all(site.name in profile.sensitivity for site in group.sites):
        from scap_ov.fitting.allocation.sensitivity import allocate

        return allocate(profile, group, criterion)
    return allocate_by_kind(profile, group, criterion)


ALLOCATIONS: dict[str, Allocation] = {
    "uniform": allocate_uniform,
    "greedy": allocate_greedy,
    "cats": allocate_cats,
    "sensitivity": allocate_adaptive,
}

__all__ = ["ALLOCATIONS", "Allocation"]
