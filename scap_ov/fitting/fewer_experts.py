"""Choose how many routed experts a token of each layer uses, by what calibration says that it costs. Reads: profile.sensitivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.errors import UsageError
from scap_ov.fitting.allocation.sensitivity import convex_hull
from scap_ov.sites import Site, SiteKind, expert_pairs

if TYPE_CHECKING:
    from scap_ov.statistics.profile import CalibrationProfile

FEWER = "fewer_loss"  # key of a site's table: KL divergence in nats with 1 … k − 1 experts, float64 [k − 1]


@dataclass(frozen=True)
class Choice:
    """How many experts tokens use.

    :param used: by name of a site of routed experts, both of a layer; layers that keep all are not named.
    :param loss: KL divergence in nats that is expected of it.
    """

    used: dict[str, int]
    loss: float


def choose(profile: CalibrationProfile, share: float) -> Choice:
    """The least loss at which at most 1 − share of the bytes of routed experts are read; every token keeps one expert at least.

    Steps of the layers' convex hulls are taken in the order of their loss per byte until enough is saved.

    :param share: in (0, 1).
    :raises UsageError: the model has no routed experts, or the profile does not tell what fewer of them cost.
    """
    layers = [site for site in profile.sites if site.kind is SiteKind.EXPERT_UP]
    if not layers:
        msg = f"fewer_experts is {share:g}, and the model has no routed experts; leave it out"
        raise UsageError(msg)
    unknown = [site.name for site in layers if site.experts_per_token > 1 and FEWER not in profile.sensitivity.get(site.name, {})]
    if unknown:
        shown = ", ".join(unknown[:3])
        msg = (f"the profile does not tell what fewer experts cost at {len(unknown)} layers ({shown}); calibrate again, and a model that "
               "cannot be calibrated block by block keeps all its experts")  # fmt: skip
        raise UsageError(msg)
    steps = []
    for site in layers:
        curve = _hull(np.asarray(profile.sensitivity[site.name][FEWER]), site.experts_per_token) if site.experts_per_token > 1 else []
        size = site.weight_bytes / site.copies
        steps += [((after - before) / size, site.name, left, size) for left, before, after in curve]
    wanted = share * sum(site.weight_bytes for site in layers)
    used: dict[str, int] = {}
    loss = 0.0
    for cost, name, left, size in sorted(steps, key=lambda step: (step[0], -step[2])):
        if wanted <= 1e-9 * size:
            break
        used[name], wanted, loss = left, wanted - size, loss + cost * size
    both = {site.name: used[up.name] for up, down in expert_pairs(profile.sites) if up.name in used for site in (up, down)}
    return Choice(both, loss)


def with_experts(sites: Sequence[Site], used: dict[str, int]) -> tuple[Site, ...]:
    """Sites of a model whose tokens use so many experts."""
    return tuple(replace(site, experts_per_token=used.get(site.name, site.experts_per_token)) for site in sites)


def _hull(losses: np.ndarray, count: int) -> list[tuple[int, float, float]]:
    """For each expert that is left out in turn: how many are left, and the loss before and after.

    :param losses: with 1 … k − 1 experts.
    """
    curve = np.maximum.accumulate([0.0, *losses[::-1]])  # with 0 … k − 1 left out
    convex = convex_hull(np.arange(count, dtype=np.float64), curve)
    return [(count - out, float(convex[out - 1]), float(convex[out])) for out in range(1, count)]
