"""What plans lose against the dense model, window by window: block by block where the model can be cut, else by one compiled probe."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from scap_ov.calibration.probes import probe_of
from scap_ov.errors import UncutError
from scap_ov.models.opened import OpenedModel
from scap_ov.tuning.block_losses import BlockLosses, WindowLosses

if TYPE_CHECKING:
    from scap_ov.calibration.probe import Probe
    from scap_ov.calibration.probe_model import ProbeModel
    from scap_ov.calibration.samples import CalibrationWindow
    from scap_ov.config import SparsityConfig
    from scap_ov.models.kinds import AnyOpened
    from scap_ov.models.tensors import HasInputs
    from scap_ov.plan import SitePlan

_log = logging.getLogger(__name__)


class PlanLosses(Protocol):
    """Measures plans.

    :param stock: the model that samples are for.
    :param language: it gives logits.
    """

    stock: HasInputs
    language: bool

    def losses(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan]) -> WindowLosses:
        """What a plan loses on each window."""


def losses_of(model: AnyOpened, config: SparsityConfig) -> PlanLosses:
    """What measures plans on a model.

    :param config: that all plans are fitted with, but for its target.
    """
    graded = config.method == "graded"
    if isinstance(model, OpenedModel):
        try:
            return BlockLosses(model, lm_head=config.lm_head is True, graded=graded, ramp=config.ramp)
        except UncutError as e:
            _log.info("running the whole model at once: %s", e)
    return WholeLosses(probe_of(model, ramp=config.ramp, graded=graded))


def measure(
    probe: ProbeModel, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Measure a plan.

    :param probe: built with `measure`.
    :return: loss of each window against the dense model, float64 [W]; by site which share of its weight bytes was not read, [W].
    """
    settings, losses, shares = probe.settings(entries.values()), [], []
    for window in windows:
        losses.append(probe.loss(window.inputs, settings, window.pruned, probe.reference_of(window.inputs)))
        shares.append(probe.shares(window.pruned).mean(1))
    return np.array(losses), dict(zip([s.name for s in probe.sites], np.stack(shares, axis=1), strict=True))


class WholeLosses:
    """One compiled copy of the model, for all plans."""

    def __init__(self, probe: Probe) -> None:
        self.stock, self.language = probe.stock, probe.language
        self._probe = probe

    def losses(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan]) -> WindowLosses:
        """Dense distributions are computed anew: kept, they would take 200 kB a token."""
        settings, found = self._probe.settings(entries.values()), []
        for window in windows:
            reference = self._probe.reference_of(window.inputs)
            dense = self._likelihood(window)
            found.append((self._probe.loss(window.inputs, settings, window.pruned, reference), dense - self._likelihood(window)))
        return WindowLosses(*(np.array(each, np.float64) for each in zip(*found, strict=True)))

    def _likelihood(self, window: CalibrationWindow) -> float:
        """Mean log-probability in the last run of the tokens that follow pruned rows; the last row's token is not known."""
        if not self.language or "input_ids" not in window.inputs:
            return np.nan
        labels = np.asarray(window.inputs["input_ids"]).reshape(-1)[1:]
        rows = np.flatnonzero(window.pruned[:-1])
        return float(self._probe.log_probabilities()[rows, labels[rows]].mean(dtype=np.float64))
