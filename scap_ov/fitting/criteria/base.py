"""The contract of a criterion. docs/adding/criterion.md walks through a new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from scap_ov.config import SparsityConfig
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import SiteStatistics


@dataclass(frozen=True)
class SiteFit:
    """An entry x[k] is replaced by center[k] where |x[k] − center[k]| ≤ threshold[k].

    :param center: float32 [1] or [K].
    :param threshold: float32 [1] or [K].
    """

    center: np.ndarray
    threshold: np.ndarray


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
        :param sparsity: in [0, 1).
        """

    def expected_sparsity(self, site: Site, rows: np.ndarray, fit: SiteFit, sparsity: float) -> float:
        """Share of the site's weights that need not be read, measured on `rows`."""

    def notes(self) -> dict[str, object]:
        """What a reader of the plan should know, plain JSON values; deviations from the method's paper among them."""
