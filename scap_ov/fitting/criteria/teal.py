"""TEAL (arXiv 2408.14690): magnitude around zero, sparsity allotted inside each block by greedy steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scap_ov.fitting.criteria.scap import ScapCriterion

if TYPE_CHECKING:
    from scap_ov.config import SparsityConfig


class TealCriterion(ScapCriterion):
    """Zero centre and scalar thresholds."""

    name = "teal"
    allocation = "greedy"

    def __init__(self, config: SparsityConfig) -> None:
        """The centre is zero whatever the configuration says of SCAP's."""
        super().__init__(config)
        self.center = "zero"

    def notes(self) -> dict[str, object]:
        """Deviations from the paper."""
        return {
            "deviation": "layers that share an input share its sparsity (TEAL gives q, k, v and gate, up their own), thresholds are "
            "empirical quantiles, and the block's output error is put together from local errors "
            "instead of running the block at every step"
        }
