"""CATS: one share of the gate's channels for all blocks, as large as the target needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scap_ov.errors import UsageError
from scap_ov.sites import SiteKind

if TYPE_CHECKING:
    from scap_ov.fitting.criteria.base import Criterion
    from scap_ov.scoping import TargetGroup
    from scap_ov.statistics.profile import CalibrationProfile

MAX_SPARSITY = 0.95  # of the gate's channels
FFN_ONLY = 0.6  # with scope ffn, up and down are two thirds of the weights


def allocate_cats(profile: CalibrationProfile, group: TargetGroup, criterion: Criterion) -> dict[str, float]:
    """The share s of gate channels with s·(up + down weights) = target·(weights of the group).

    :raises UsageError: the target is more than up and down together can give.
    """
    del profile, criterion
    reach = {s.name: {SiteKind.UP: 0.5, SiteKind.DOWN: 1.0}.get(s.kind, 0.0) * s.weight_count for s in group.sites}
    most = sum(reach.values()) / sum(s.weight_count for s in group.sites)
    share = group.target / most if most else 1.0
    if share > MAX_SPARSITY and group.target > 0:
        cure = "" if most > FFN_ONLY else ", or set scope to 'ffn'"
        msg = (
            f"cats prunes only up and down, {100 * most:.1f} % of the weights in scope, and cannot drop {100 * group.target:g} % of them; "
            f"ask for at most {MAX_SPARSITY * most:.2f}{cure}"
        )
        raise UsageError(msg)
    return {s.name: share if reach[s.name] else 0.0 for s in group.sites}
