"""What plans lose against the dense model, window by window: block by block where the model can be cut, else by one compiled probe."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scap_ov.calibration.probe_model import Reference
from scap_ov.calibration.probes import probe_of
from scap_ov.errors import UncutError
from scap_ov.models.opened import OpenedModel
from scap_ov.tuning.block_losses import BlockLosses

if TYPE_CHECKING:
    from scap_ov.calibration.probe_model import ProbeModel, Settings
    from scap_ov.calibration.samples import Piece
    from scap_ov.config import SparsityConfig
    from scap_ov.models.kinds import AnyOpened
    from scap_ov.plan import SitePlan

_log = logging.getLogger(__name__)


class PlanLosses(Protocol):
    """Measures plans.

    :param stock: the model that samples are for.
    :param language: it gives logits.
    """

    stock: Any
    language: bool

    def losses(self, windows: Sequence[Piece], entries: Mapping[str, SitePlan], measure: str) -> np.ndarray:
        """Mean loss over the rows that are pruned, by window, float64 [W].

        :param measure: `kl`: KL(dense ‖ pruned), or what main_output says for a model without logits; `nll`: how much less likely the
            text becomes, per token; in nats.
        """


def losses_of(model: AnyOpened, config: SparsityConfig) -> PlanLosses:
    """What measures plans on a model.

    :param config: that all plans are fitted with, but for its target.
    """
    graded = config.method == "graded"
    if isinstance(model, OpenedModel):
        try:
            return BlockLosses(model, lm_head=config.lm_head, graded=graded, ramp=config.ramp)
        except UncutError as e:
            _log.info("running the whole model at once: %s", e)
    return WholeLosses(probe_of(model, ramp=config.ramp, graded=graded))


class WholeLosses:
    """One compiled copy of the model, for all plans."""

    def __init__(self, probe: ProbeModel) -> None:
        self.stock, self.language = probe.stock, probe.language
        self._probe = probe
        self._dense: dict[int, float] = {}

    def losses(self, windows: Sequence[Piece], entries: Mapping[str, SitePlan], measure: str) -> np.ndarray:
        """Dense distributions are computed anew: kept, they would take 200 kB a token."""
        settings = self._probe.settings(entries.values())
        if measure == "kl":
            return np.array([self._probe.loss(w.inputs, settings, w.pruned, self._probe.reference_of(w.inputs)) for w in windows])
        dense = self._probe.dense()
        for window in windows:
            if window.digest not in self._dense:
                self._dense[window.digest] = self._nll(window, dense)
        return np.array([self._nll(w, settings) - self._dense[w.digest] for w in windows])

    def _nll(self, window: Piece, settings: Settings) -> float:
        labels = np.asarray(window.inputs["input_ids"]).reshape(-1)
        self._probe.run(window.inputs, settings)
        hot = np.zeros(self._probe.log_probabilities().shape, np.float32)
        hot[np.arange(len(labels) - 1), labels[1:]] = 1
        scored = window.pruned.copy()
        scored[-1] = False  # the token that follows is not known
        return self._probe.loss(window.inputs, settings, scored, Reference(hot, np.zeros(len(labels))))
