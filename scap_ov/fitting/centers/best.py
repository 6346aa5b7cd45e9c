"""Choose among candidate centres by the error that they leave in the output of the site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.fitting.output_error import CURVE_ROWS, output_error
from scap_ov.fitting.thresholds import pruned, quantile_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence


def best_center(candidates: Sequence[float], rows: np.ndarray, sketch: np.ndarray, sparsity: float) -> float:
    """The candidate with the least mean |W (x − x̂)|² at a sparsity; the first of equals.

    :param candidates: scalar centres, at least one.
    :param rows: float32 [R, K].
    :param sketch: random projection of W, float32 [P, K].
    """
    if len(candidates) == 1 or sparsity == 0:
        return candidates[0]
    part = rows[:CURVE_ROWS]
    errors = []
    for eta in candidates:
        center = np.array([eta], np.float32)
        threshold = quantile_threshold(np.abs(part - center), sparsity)
        errors.append(output_error(part - pruned(part, center, threshold), sketch))
    return candidates[int(np.argmin(errors))]
