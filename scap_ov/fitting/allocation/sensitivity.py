"""Allot sparsity by what it costs the model's output: the least predicted KL divergence for a given mean. Reads: profile.sensitivity.

A measurement (calibration.sensitivity) tells the KL divergence of the whole model when one site alone is pruned, at one
sparsity or a few. Between and beyond these points the curve follows the site's own output error, which is known at every
sparsity. The sum over the sites predicts the divergence of the whole plan (within a tenth up to 50 %), and the plan that makes
the sum least is found exactly, by one Lagrange multiplier. Local errors alone would not do: an error early in the model grows on its
way to the output, one in a late layer does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scap_ov.fitting.criteria.base import Criterion
    from scap_ov.scoping import TargetGroup
    from scap_ov.statistics.profile import CalibrationProfile

LEVELS = np.array([0.05, *np.arange(1, 10) / 10])  # where a site's own error is known, [L]
STEP = 0.005  # of the allotted sparsities; the mean is exact all the same
MAX_SPARSITY = 0.9  # the curves are not to be trusted beyond
GRADED = "graded_"  # begins the keys of a table over shares of bytes, where channels are read by half
_TINY = 1e-12


def allocate(profile: CalibrationProfile, group: TargetGroup, criterion: Criterion) -> dict[str, float]:
    """The sparsities of least predicted KL divergence whose mean, weighted by weight bytes, is the group's target.

    :raises UsageError: a site has no measured sensitivity, or the target is above what any site may get.
    """
    without = [site.name for site in group.sites if site.name not in profile.sensitivity]
    if without:
        msg = f"{len(without)} sites have no measured sensitivity ({', '.join(without[:3])}); measure it for all sites in scope"
        raise UsageError(msg)
    if group.target > MAX_SPARSITY:
        msg = f"target {group.target} is above {MAX_SPARSITY}, the most that method 'adaptive' gives a site; ask for less"
        raise UsageError(msg)
    grid = loss_grid()
    curves = [loss_curve(table_of(profile, site.name, criterion)) for site in group.sites]
    counts = np.array([site.weight_bytes for site in group.sites], np.float64)
    shares = least_loss(np.stack(curves), counts / counts.sum(), grid, group.target)
    return {site.name: float(share) for site, share in zip(group.sites, shares, strict=True)}


def predicted_loss(profile: CalibrationProfile, shares: Mapping[str, float], criterion: Criterion) -> float:
    """The KL divergence, in nats, that the tables predict for an allocation: the sum over the sites.

    :param shares: sparsity by site name; a site that is not named is dense.
    :param criterion: that prunes.
    """
    grid = loss_grid()
    return float(sum(np.interp(share, grid, loss_curve(table_of(profile, name, criterion))) for name, share in shares.items()))


def table_of(profile: CalibrationProfile, name: str, criterion: Criterion) -> Mapping[str, np.ndarray]:
    """`level`, `loss` and `error` of a site for what the criterion does there: dropping alone, or reading by half too."""
    table = profile.sensitivity[name]
    if criterion.name != "graded" or GRADED + "loss" not in table:
        return table
    return {key: table[GRADED + key] for key in ("level", "loss", "error")}


def loss_grid() -> np.ndarray:
    """The sparsities at which curves are compared, ascending from 0, float64 [P]."""
    return np.round(np.arange(0.0, MAX_SPARSITY + STEP / 2, STEP), 4)


def loss_curve(table: Mapping[str, np.ndarray]) -> np.ndarray:
    """Predicted divergence of the model when this site alone is pruned, at every point of `loss_grid`.

    1. At the measured levels the curve is the measurement (made monotone); a measurement at or below 0 counts as tiny.
    2. In between and beyond, the logarithm of measurement over local error is interpolated, held at the ends.
    3. The result is the lower convex hull: cheaper points in between are reached by no threshold, but multipliers need it,
       and what noise put above the hull is smoothed away.

    :param table: `level` and `loss`: KL in nats at each measured sparsity; `error`: the site's own output error at LEVELS.
    :return: float64 [P], 0 at sparsity 0.
    """
    local = np.maximum(np.maximum.accumulate(np.asarray(table["error"], np.float64)), _TINY)
    order = np.argsort(table["level"])
    level = np.asarray(table["level"], np.float64)[order]
    loss = np.maximum.accumulate(np.maximum(np.asarray(table["loss"], np.float64)[order], _TINY))
    grid = loss_grid()
    log_local = np.interp(grid, LEVELS, np.log(local))
    ratio = np.log(loss) - np.interp(level, LEVELS, np.log(local))
    curve = np.exp(log_local + np.interp(grid, level, ratio))
    low = grid < LEVELS[0]  # the error of the smallest entries rises with the cube of their share
    curve[low] = curve[np.searchsorted(grid, LEVELS[0])] * (grid[low] / LEVELS[0]) ** 3
    return convex_hull(grid, np.maximum.accumulate(curve))


def convex_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The largest convex function that is nowhere above y.

    :param x: ascending, float64 [P].
    :param y: float64 [P].
    :return: float64 [P].
    """
    kept: list[int] = []
    for i in range(len(x)):
        while len(kept) > 1 and _cross(x, y, kept[-2], kept[-1], i) <= 0:
            kept.pop()
        kept.append(i)
    return np.interp(x, x[kept], y[kept])


def least_loss(curves: np.ndarray, weights: np.ndarray, grid: np.ndarray, target: float) -> np.ndarray:
    """Minimise the sum of convex curves under a weighted mean.

    All sites share the slope d loss / d (weighted sparsity) = λ; λ is bisected, and the last step between two neighbouring
    solutions is interpolated, so that the mean is exact.

    :param curves: float64 [S, P], convex.
    :param weights: shares of the weights, float64 [S], sum 1.
    :param grid: float64 [P].
    :param target: in [0, grid[-1]].
    :return: float64 [S].
    """
    slopes = np.diff(curves, axis=1) / np.diff(grid) / weights[:, None]  # ascending along each row

    def at(multiplier: float) -> np.ndarray:
        return grid[(slopes <= multiplier).sum(axis=1)]

    low, high = 0.0, float(slopes.max())
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if weights @ at(middle) < target else (low, middle)
    under, over = at(low), at(high)
    if weights @ under > target:  # free steps (slope 0) alone reach the target
        under = np.zeros_like(under)
    gap = weights @ (over - under)
    return under + (over - under) * ((target - weights @ under) / gap if gap > 0 else 0.0)


def _cross(x: np.ndarray, y: np.ndarray, a: int, b: int, c: int) -> float:
    return float((x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a]))
