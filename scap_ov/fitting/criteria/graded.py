"""Graded reads: a channel is not read, read by its high plane, or read whole, by two thresholds τ₀ ≤ τ₁ on |x − c|.

With ε the share of the weights' energy that the high plane misses, an entry d = x − c costs d²‖w‖² where it is dropped and ε d²‖w‖²
where it is read by half. Each step down saves half of a channel's bytes; equal costs per byte at both thresholds give
τ₁ / τ₀ = √((1 − ε) / ε).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.fitting.criteria.adaptive import CENTER_ROWS, FULL_ROWS, LEAST_DROPPED, ROUNDS, AdaptiveCriterion
from scap_ov.fitting.criteria.base import SiteFit
from scap_ov.fitting.thresholds import NOTHING, quantile_threshold

if TYPE_CHECKING:
    from scap_ov.config import SparsityConfig
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import SiteStatistics

LEAST_ERROR = 1e-4  # of ε: weights that the high plane holds exactly would put τ₁ at infinity


class GradedCriterion:
    """Two scalar thresholds per site of 8-bit weights, and per channel the centre that makes the most of them; other sites as `adaptive`.

    The centre is the mean of the channel's entries below τ₁ where those above τ₀ count ε: the mean shift of `adaptive` for the cost
    min(d², ε d² + λ, 2 λ) of an entry, with λ what half of the bytes are worth.
    """

    name = "graded"
    allocation = "sensitivity"
    kinds: tuple[str, ...] = ()

    def __init__(self, config: SparsityConfig) -> None:
        """Nothing to choose."""
        self._pruning = AdaptiveCriterion(config)

    def fit_site(self, site: Site, rows: np.ndarray, statistics: SiteStatistics, sparsity: float) -> SiteFit:
        """Rounds of thresholds and centre, then the thresholds once more on all rows.

        :param sparsity: share of the weight bytes not to read.
        """
        if not reads_by_half(site, statistics):
            return self._pruning.fit_site(site, rows, statistics, sparsity)
        error = plane_error(statistics)
        ratio = np.float32(np.sqrt((1 - error) / error))
        center = np.zeros(rows.shape[1], np.float32)
        if sparsity > 0:
            part, most = rows[:FULL_ROWS], rows[:CENTER_ROWS]
            center = _start(part, _lower(np.abs(part), ratio, sparsity), error)
            for _ in range(ROUNDS):
                tau = _lower(np.abs(part - center), ratio, sparsity)
                distance = np.abs(most - center)
                weight = np.where(distance <= tau, np.float32(1), np.float32(error) * (distance <= ratio * tau))
                count = (weight > 0).sum(0)
                total = np.einsum("rk,rk->k", most, weight, dtype=np.float64)
                mean = total / np.maximum(weight.sum(0, dtype=np.float64), 1e-12)
                center = np.where(count >= LEAST_DROPPED, mean, center).astype(np.float32)
        tau = _lower(np.abs(rows - center), ratio, sparsity)
        return SiteFit(center, np.array([tau]), np.array([tau if tau < 0 else ratio * tau], np.float32))

    def expected_sparsity(self, site: Site, rows: np.ndarray, fit: SiteFit, sparsity: float) -> float:
        """Share of the bytes that are not read."""
        del site, sparsity
        dropped, half = fit.shares(rows)
        return dropped + half / 2

    def notes(self) -> dict[str, object]:
        """Nothing to tell."""
        return {}


def reads_by_half(site: Site, statistics: SiteStatistics) -> bool:
    """Whether a site can be read by half, and the profile knows what that costs; profiles of versions before 0.3 do not."""
    return site.two_planes and "missed_norm" in statistics.tensors


def plane_error(statistics: SiteStatistics) -> float:
    """ε: the share of the weights' energy that the high plane misses."""
    missed, whole = (np.square(statistics.tensors[key], dtype=np.float64).sum() for key in ("missed_norm", "column_norm"))
    return float(np.clip(missed / max(whole, 1e-30), LEAST_ERROR, 0.5))


def _lower(distance: np.ndarray, ratio: np.float32, sparsity: float) -> np.float32:
    """The τ₀ at which `sparsity` of the bytes are not read: an entry gives half of its bytes at τ₁ = ratio·τ₀ and the other half at τ₀."""
    if sparsity <= 0:
        return NOTHING
    return quantile_threshold(np.concatenate([distance, distance / ratio]), sparsity)


def _start(rows: np.ndarray, tau: np.float32, error: float) -> np.ndarray:
    """Zero or the median of each channel, where entries cost less; float32 [K]."""
    median = np.median(rows, axis=0).astype(np.float32)
    worth = np.float32(1 - error) * tau * tau
    at_zero, at_median = (
        np.minimum(np.square(rows - c), np.minimum(np.float32(error) * np.square(rows - c) + worth, 2 * worth)).sum(0, dtype=np.float64)
        for c in (np.float32(0), median)
    )
    return np.where(at_median < at_zero, median, np.float32(0))
