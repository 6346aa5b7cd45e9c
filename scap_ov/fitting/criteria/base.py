"""The contract of a criterion. docs/adding/criterion.md walks through a new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from scap_ov.config import SparsityConfig
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import SiteStatistics


@dataclass(frozen=True)
class SiteFit:
    """An entry x[k] is replaced by center[k] where |x[k] − center[k]| ≤ threshold[k], and read by half up to whole_threshold[k].

    :param center: float32 [1] or [K].
    :param threshold: float32 [1] or [K].
    :param whole_threshold: float32 [1] or [K]; None where nothing is read by half.
    """

    center: np.ndarray
    threshold: np.ndarray
    whole_threshold: np.ndarray | None = None

    def shares(self, rows: np.ndarray) -> tuple[float, float]:
        """Shares of the entries of `rows` [R, K] that are dropped and that are read by half."""
        distance = np.abs(rows - self.center)
        dropped = float((distance <= self.threshold).mean())
        if self.whole_threshold is None:
            return dropped, 0.0
        return dropped, max(float((distance <= self.whole_threshold).mean()) - dropped, 0.0)


class Criterion(Protocol):
    """One method. `name` is its name in the configuration, `allocation` that of the strategy in fitting.allocation.

    `kinds` are the site kinds that it can prune, () for all.
    """

    name: str
    allocation: str
    kinds: tuple[str, ...]

    def __init__(self, config: SparsityConfig) -> None:
        """Take what the configuration says about this method.

        :raises UsageError: the configuration asks for what the method cannot do.
        """

    def fit_site(self, site: Site, rows: np.ndarray, statistics: SiteStatistics, sparsity: float) -> SiteFit:
        """Fit one site so that `sparsity` of the entries of `rows` are dropped.

        :param rows: sample of the site's inputs, float32 [R, K]; the reservoir or a part of it. Not to be changed.
        :param sparsity: share of the weight bytes not to read, in [0, 1): of the entries to drop, where none is read by half.
        """

    def expected_sparsity(self, site: Site, rows: np.ndarray, fit: SiteFit, sparsity: float) -> float:
        """Share of the site's weights that need not be read, measured on `rows`."""

    def notes(self) -> dict[str, object]:
        """What a reader of the plan should know, plain JSON values; deviations from the method's paper among them."""
