"""Loss and sparsity of a plan, averaged over windows, for tests that compare plans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.calibration.samples import CalibrationWindow
from scap_ov.plan import SparsityPlan
from scap_ov.tuning.plan_losses import measure


def loss_and_sparsity(probe: ProbeModel, pieces: Sequence[CalibrationWindow], plan: SparsityPlan) -> tuple[float, float]:
    """Mean KL(dense ‖ pruned), and the share of the weights of the blocks that is not read."""
    losses, shares = measure(probe, pieces, plan.entries)
    weight = np.array([site.weight_count * (site.kind.value != "lm_head") for site in probe.sites], np.float64)
    return float(losses.mean()), float(weight @ [shares[site.name].mean() for site in probe.sites] / weight.sum())
