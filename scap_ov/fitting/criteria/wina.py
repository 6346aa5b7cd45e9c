"""WINA (arXiv 2505.19427): magnitude times the norm of the weight column, |x_k|·‖W[:, k]‖₂, as a threshold per channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.fitting.criteria.base import SiteFit
from scap_ov.fitting.criteria.scap import ScapCriterion
from scap_ov.fitting.thresholds import quantile_threshold

if TYPE_CHECKING:
    from scap_ov.config import SparsityConfig
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import SiteStatistics


class WinaCriterion(ScapCriterion):
    """Zero centre; τ_k = t / ‖W[:, k]‖₂ with one t per site."""

    name = "wina"

    def __init__(self, config: SparsityConfig) -> None:
        """The centre is zero whatever the configuration says of SCAP's."""
        super().__init__(config)
        self.center = "zero"

    def fit_site(self, site: Site, rows: np.ndarray, statistics: SiteStatistics, sparsity: float) -> SiteFit:
        """A channel whose weights are all zero is always dropped."""
        del site
        norm = statistics.column_norm
        tau = quantile_threshold(np.abs(rows) * norm, sparsity)
        largest = np.finfo(np.float32).max
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            threshold = np.where(norm > 0, np.minimum(tau / norm, largest), largest if tau >= 0 else tau)
        return SiteFit(np.zeros(1, np.float32), threshold.astype(np.float32))

    def notes(self) -> dict[str, object]:
        """Deviations from the paper."""
        return {
            "deviation": "a fixed threshold instead of the k largest of each token; norms over all layers of a site, on every site "
            "(the released code weights k and gate only); no rotation of the residual stream"
        }
