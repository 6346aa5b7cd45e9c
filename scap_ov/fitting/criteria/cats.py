"""CATS (arXiv 2404.08763): a threshold on |act(gate)|, whose mask is shared by the output of up and the input of down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.errors import BadModelError, UsageError
from scap_ov.fitting.criteria.base import SiteFit
from scap_ov.fitting.thresholds import NOTHING
from scap_ov.sites import Site, SiteKind
from scap_ov.statistics.observers.histogram import magnitude_quantile

if TYPE_CHECKING:
    from scap_ov.config import SparsityConfig
    from scap_ov.statistics.profile import SiteStatistics


class CatsCriterion:
    """The threshold of a `down` site applies to |act(gate)|; the `up` site drops no input, but the rows of up's weight."""

    name = "cats"
    allocation = "cats"
    kinds: tuple[str, ...] = ("up", "down")

    def __init__(self, config: SparsityConfig) -> None:
        """Refuse targets of their own for up and down: one mask serves both."""
        if isinstance(config.target_sparsity, Mapping):
            msg = "cats masks up and down alike, so target_sparsity cannot be a mapping; give one number"
            raise UsageError(msg)

    def fit_site(self, site: Site, rows: np.ndarray, statistics: SiteStatistics, sparsity: float) -> SiteFit:
        """From the histogram of |act(gate)| over all tokens.

        :raises BadModelError: the FFN has no gate.
        """
        del rows
        zero = np.zeros(1, np.float32)
        if site.kind is SiteKind.UP or sparsity == 0:
            return SiteFit(zero, np.array([NOTHING]))
        if "gate_histogram" not in statistics.tensors:
            msg = f"cats needs a gated FFN, and site {site.name} is fed by none; use method 'scap' or 'adaptive'"
            raise BadModelError(msg)
        return SiteFit(zero, np.array([magnitude_quantile(statistics.tensors["gate_histogram"], sparsity)], np.float32))

    def expected_sparsity(self, site: Site, rows: np.ndarray, fit: SiteFit, sparsity: float) -> float:
        """Share of the weights that are not read: all of down's dropped channels, but of the `up` site only up's rows, not gate's."""
        del rows, fit
        return sparsity * (0.5 if site.kind is SiteKind.UP else 1.0)

    def notes(self) -> dict[str, object]:
        """Tells that the entries mean something else than usual."""
        return {"rewrite": "cats", "threshold_on": "|act(gate)|, entries of down sites; up sites share the mask on the output of up"}
