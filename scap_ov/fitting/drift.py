"""Scale thresholds by what pruning does to later layers, as calibration.drift has measured it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.fitting.allocation.sensitivity import predicted_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scap_ov.fitting.criteria import Criterion
    from scap_ov.statistics.profile import CalibrationProfile

LOSS, DRIFT = "drift_loss", "drift_ratio"  # keys of a sensitivity table: predicted losses of the reference plans, ascending; ratios [R]
_LEAST, _MOST = 0.5, 1.5  # ratios beyond are an extrapolation that went astray


def knows_drift(profile: CalibrationProfile, names: list[str]) -> bool:
    """Whether the ratios of all these sites were measured."""
    return bool(names) and all(LOSS in profile.sensitivity.get(name, {}) for name in names)


def drift_ratios(profile: CalibrationProfile, shares: Mapping[str, float], criterion: Criterion) -> dict[str, float]:
    """The factor on every site's dense threshold in a plan.

    1. The ratio is 1 for a plan without loss, and linear in the predicted loss between the reference plans and beyond the last.

    :param shares: sparsity by site name; all must have been measured.
    :param criterion: that prunes.
    """
    loss = predicted_loss(profile, shares, criterion)
    return {name: _ratio(profile.sensitivity[name], loss) for name in shares}


def _ratio(table: Mapping[str, np.ndarray], loss: float) -> float:
    x = np.concatenate([[0.0], np.asarray(table[LOSS], np.float64)])
    y = np.concatenate([[1.0], np.asarray(table[DRIFT], np.float64)])
    if loss <= x[-1]:
        return float(np.interp(loss, x, y))
    slope = (y[-1] - y[-2]) / max(x[-1] - x[-2], 1e-12)
    return float(np.clip(y[-1] + slope * (loss - x[-1]), _LEAST, _MOST))
