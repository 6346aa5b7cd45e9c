"""Per-token top-k, for reference: as constants in a graph it can only be the threshold that keeps k entries on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scap_ov.fitting.criteria.scap import ScapCriterion

if TYPE_CHECKING:
    from scap_ov.config import SparsityConfig


class TopkCriterion(ScapCriterion):
    """The uniform threshold around zero; the plan says that it is no true top-k, so that an evaluation may simulate one."""

    name = "topk"

    def __init__(self, config: SparsityConfig) -> None:
        """The centre is zero whatever the configuration says of SCAP's."""
        super().__init__(config)
        self.center = "zero"

    def notes(self) -> dict[str, object]:
        """Says what the plan is not."""
        return {
            "reference_only": "the k largest entries of each token cannot be chosen by constants in a graph; these thresholds keep k "
            "entries on average"
        }
