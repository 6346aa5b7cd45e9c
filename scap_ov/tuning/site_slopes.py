"""How the loss changes with what a plan has at one site, from gradients at the site's tensors; in numpy. As gradients.pruning_gradient.

A hard threshold has no useful derivative, its mean over rows has one: dL/d log τ = E[g·(c − x) | |x − c| = τ]·density, with g the gradient
at the pruned input, over a window of relative width 2·WIDTH around τ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.gradients.pruning_gradient import WIDTH

if TYPE_CHECKING:
    from scap_ov.plan import SitePlan


@dataclass(frozen=True)
class SiteSlopes:
    """Sums over rows.

    :param compensation: dL/d constant, float [N]; all layers of the site in order.
    :param cost: dL/d log τ, both thresholds moving together.
    :param denser: d(entries that are not read)/d log τ; an entry that is read by half counts half.
    :param unread: entries that are not read.
    """

    compensation: np.ndarray
    cost: float
    denser: float
    unread: float


def site_slopes(entry: SitePlan, x: np.ndarray, into_input: np.ndarray, into_half: np.ndarray | None, outputs: np.ndarray) -> SiteSlopes:
    """The slopes from some rows that count.

    :param x: the site's input before it is pruned, float32 [R, K].
    :param into_input: gradient at the pruned input, float32 [R, K].
    :param into_half: gradient at what is read by half, float32 [R, K]; None where nothing is.
    :param outputs: gradient at what the layers give, float32 [R, N].
    """
    change = x - entry.center
    distance = np.abs(change)
    unread = float((distance <= entry.threshold).sum())
    whole = None if into_half is None else entry.whole_threshold
    dropped = into_input if into_half is None or whole is None else into_input + into_half
    near = _about_to_jump(distance, entry.threshold)
    cost, denser = -_sum(dropped, change, near), float(near.sum()) / (2 * WIDTH)
    if into_half is not None and whole is not None:
        near = _about_to_jump(distance, whole)
        cost += _sum(into_half, change, near)
        denser = (denser + float(near.sum()) / (2 * WIDTH)) / 2
        unread += float(((distance > entry.threshold) & (distance <= whole)).sum()) / 2
    return SiteSlopes(outputs.sum(0, dtype=np.float64), cost, denser, unread)


def _about_to_jump(distance: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    low, high = (threshold * np.float32(by) for by in (1 - WIDTH, 1 + WIDTH))
    return (distance > low) & (distance < high)


def _sum(gradient: np.ndarray, change: np.ndarray, near: np.ndarray) -> float:
    """Σ g·(x − c) times the density of the window."""
    return float(np.einsum("rk,rk->", gradient * near, change, dtype=np.float64)) / (2 * WIDTH)
