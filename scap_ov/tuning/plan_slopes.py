"""The slope of the divergence over a plan's constants and thresholds: block by block, or of the whole model where it cannot be cut."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from scap_ov.calibration.gradient_model import GradientModel
from scap_ov.calibration.probe import Reference
from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.calibration.samples import counted
from scap_ov.errors import UncutError
from scap_ov.passes.rules.places import COMPENSATION
from scap_ov.sites import SiteKind
from scap_ov.tuning.block_slopes import BlockSlopes
from scap_ov.tuning.plan_losses import measure
from scap_ov.tuning.site_slopes import SiteSlopes

if TYPE_CHECKING:
    import openvino as ov

    from scap_ov.calibration.samples import CalibrationWindow
    from scap_ov.models.opened import OpenedModel
    from scap_ov.plan import SitePlan, SparsityPlan
    from scap_ov.sites import Site

_log = logging.getLogger(__name__)


class PlanSlopes(Protocol):
    """A model whose plans can be improved step by step.

    :param stock: the model that samples are for.
    """

    stock: ov.Model
    sites: tuple[Site, ...]

    def measure(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Mean KL(dense ‖ pruned) by window, float64 [W], and the share of its bytes that each site leaves unread, [W] by name."""

    def slopes(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan]) -> dict[str, list[SiteSlopes]]:
        """By site, the slopes of the divergence summed over the rows of each window."""


def slopes_of(model: ov.Model | OpenedModel, plan: SparsityPlan) -> PlanSlopes:
    """What differentiates plans with these sites.

    :raises BadModelError: the model has no logits, or an operation without a gradient rule.
    """
    graded = any(entry.whole_threshold is not None for entry in plan.entries.values())
    head = {site.name for site in plan.sites if site.kind is SiteKind.LM_HEAD} & plan.entries.keys()
    try:
        return BlockSlopes(model, lm_head=bool(head), graded=graded)
    except UncutError as e:
        _log.warning("the model is differentiated in one piece, which takes many times its size of memory: %s", e)
    return WholeSlopes(model, graded=graded)


class WholeSlopes:
    """One compiled derivative of the whole model, and one copy without, which takes a third of the time.

    :param graded: plans read channels by half.
    :raises BadModelError: the model has no logits, or an operation without a gradient rule.
    """

    def __init__(self, model: ov.Model | OpenedModel, *, graded: bool) -> None:
        self.gradient = GradientModel(model, constants=True, thresholds=True, graded=graded)
        self.probe = ProbeModel(model, measure=True, graded=graded)
        self.stock, self.sites = self.probe.stock, self.probe.sites

    def measure(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As PlanSlopes."""
        return measure(self.probe, windows, entries)

    def slopes(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan]) -> dict[str, list[SiteSlopes]]:
        """As PlanSlopes."""
        settings = self.probe.settings(entries.values())
        found: dict[str, list[SiteSlopes]] = {name: [] for name in entries}
        for window in windows:
            reference = self.probe.reference_of(window.inputs)
            kept = np.where(counted(window.pruned, len(reference.values))[:, None], reference.values, np.float32(0))
            self.gradient.run(window.inputs, settings, Reference(kept, reference.offset))
            slope = settings.copy()
            slope.compensation = np.array(self.gradient.gradient(COMPENSATION))
            for name, own in found.items():
                cost, denser, unread = (float(v.sum(dtype=np.float64)) for v in self.gradient.moved(name))
                own.append(SiteSlopes(self.probe.compensation(slope, name).astype(np.float64), cost, denser, unread))
        return found
