"""The same sparsity at every site of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scap_ov.fitting.criteria.base import Criterion
    from scap_ov.scoping import TargetGroup
    from scap_ov.statistics.profile import CalibrationProfile


def allocate_uniform(profile: CalibrationProfile, group: TargetGroup, criterion: Criterion) -> dict[str, float]:
    """The target itself."""
    del profile, criterion
    return {site.name: group.target for site in group.sites}
