"""Ours: a centre per channel, the mean of what is dropped there, and sparsity allotted by the sensitivity of the model's output."""

from __future__ import annotations

import numpy as np

from scap_ov.config import SparsityConfig
from scap_ov.fitting.criteria.base import SiteFit
from scap_ov.fitting.thresholds import dropped, quantile_threshold
from scap_ov.profile import SiteStatistics
from scap_ov.sites import Site

ROUNDS = 3  # centre and threshold depend on each other; after three rounds neither moves
LEAST_DROPPED = 8  # a mean of fewer values is noise: the channel keeps the centre that it has
FULL_ROWS = 512  # rows that settle the threshold of the early rounds


class AdaptiveCriterion:
    """c_k = E[x_k | x_k is dropped], one scalar threshold per site: the best constants for what is dropped, in the sense of squares."""

    name = "adaptive"
    allocation = "sensitivity"
    kinds: tuple[str, ...] = ()

    def __init__(self, config: SparsityConfig) -> None:
        """Nothing to choose."""
        del config

    def fit_site(self, site: Site, rows: np.ndarray, statistics: SiteStatistics, sparsity: float) -> SiteFit:
        """Three rounds of threshold and centre, then the threshold once more on all rows."""
        del site, statistics
        center = np.zeros(rows.shape[1], np.float32)
        if sparsity > 0:
            for _ in range(ROUNDS):
                part = rows[:FULL_ROWS]
                tau = quantile_threshold(np.abs(part - center), sparsity)
                mask = dropped(rows, center, tau)
                count = mask.sum(0)
                total = np.einsum("rk,rk->k", rows, mask, dtype=np.float64)
                center = np.where(count >= LEAST_DROPPED, total / np.maximum(count, 1), center).astype(np.float32)
        return SiteFit(center, np.array([quantile_threshold(np.abs(rows - center), sparsity)]))

    def expected_sparsity(self, site: Site, rows: np.ndarray, fit: SiteFit, sparsity: float) -> float:
        """Share of dropped entries."""
        del site, sparsity
        return float(dropped(rows, fit.center, fit.threshold).mean())

    def notes(self) -> dict[str, object]:
        """Nothing to tell."""
        return {}
