"""Graded reads: a channel is not read, read by its high plane, or read whole, by two thresholds τ₀ ≤ τ₁ on |x − c|.

With ε the share of the weights' energy that the high plane misses, an entry d = x − c costs d²‖w‖² where it is dropped and ε d²‖w‖²
where it is read by half. Each step down saves half of a channel's bytes; equal costs per byte at both thresholds give
τ₁ / τ₀ = √((1 − ε) / ε).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.fitting.criteria.adaptive import LEAST_DROPPED, ROUNDS, AdaptiveCriterion
from scap_ov.fitting.criteria.base import SiteFit
from scap_ov.fitting.mean_shift import CENTER_ROWS, FULL_ROWS, Distances, Sample

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
        return self.fit_sample(Sample(rows), plane_error(statistics), sparsity)

    def fit_sample(self, sample: Sample, error: float, sparsity: float) -> SiteFit:
        """The same of rows that are fitted at several levels, for a site that can be read by half.

        :param error: ε, see plane_error.
        """
        rows = sample.rows
        ratio = np.float32(np.sqrt((1 - error) / error))
        center = np.zeros(rows.shape[1], np.float32)
        distances = Distances(rows[:CENTER_ROWS], copies=2)
        if sparsity > 0:
            distances.of(center)  # an entry gives half of its bytes at τ₁ = ratio·τ₀ and the other half at τ₀
            worth = np.float32(1 - error) * np.square(distances.quantile(sparsity, FULL_ROWS, ratio))
            center = sample.start(lambda squares, made: _cost(squares, made, np.float32(error), worth))
            for _ in range(ROUNDS):
                distances.of(center)
                tau = distances.quantile(sparsity, FULL_ROWS, ratio)
                (dropped, total), (count, half) = distances.below(tau), distances.below(ratio * tau)
                mean = ((1 - error) * total + error * half) / np.maximum((1 - error) * dropped + error * count, 1e-12)
                center = np.where(count >= LEAST_DROPPED, mean, center).astype(np.float32)
        tau = distances.over(rows).last_quantile(center, sparsity, ratio)
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


def _cost(squares: np.ndarray, made: np.ndarray, error: np.float32, worth: np.float32) -> np.ndarray:
    """min(d², ε d² + λ, 2 λ)."""
    np.multiply(squares, error, out=made)
    made += worth
    np.minimum(made, 2 * worth, out=made)
    return np.minimum(made, squares, out=made)
