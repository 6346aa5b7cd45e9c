"""SCAP (arXiv 2412.07174): one scalar centre and one scalar threshold per site, the threshold a quantile of |x − η|."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.fitting.centers import CENTERS, best_center
from scap_ov.fitting.criteria.base import SiteFit
from scap_ov.fitting.thresholds import dropped, quantile_threshold

if TYPE_CHECKING:
    from scap_ov.config import SparsityConfig
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import SiteStatistics


class ScapCriterion:
    """Magnitude around a scalar centre; the sparsity is uniform, or per kind as in the paper's two FFN groups."""

    name = "scap"
    allocation = "uniform"
    kinds: tuple[str, ...] = ()

    def __init__(self, config: SparsityConfig) -> None:
        """Take the centre: zero, mean, median, mode, or output_error for the best of the four at each site."""
        self.center = config.center

    def fit_site(self, site: Site, rows: np.ndarray, statistics: SiteStatistics, sparsity: float) -> SiteFit:
        """Centre first, then the quantile around it."""
        del site
        names = CENTERS if self.center == "output_error" else (self.center,)
        candidates = [eta for name in names for eta in CENTERS[name](rows)]
        center = np.array([best_center(candidates, rows, statistics.sketch, sparsity)], np.float32)
        return SiteFit(center, np.array([quantile_threshold(np.abs(rows - center), sparsity)]))

    def expected_sparsity(self, site: Site, rows: np.ndarray, fit: SiteFit, sparsity: float) -> float:
        """Share of dropped entries."""
        del site, sparsity
        return float(dropped(rows, fit.center, fit.threshold).mean())

    def notes(self) -> dict[str, object]:
        """The one deviation from the paper."""
        if self.center in ("mode", "output_error"):
            return {
                "deviation": "the density is estimated by a binned Gaussian KDE over the central 99.8 % of the values with a robust "
                "bandwidth; the paper's runs over the full range, which one massive activation stretches"
            }
        return {}
