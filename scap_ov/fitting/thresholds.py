"""Thresholds as quantiles of scores, and the sparsity that a threshold gives: the same arithmetic as at run time, in float32."""

from __future__ import annotations

import numpy as np

NOTHING = np.float32(-1.0)  # no magnitude is at or below it


def quantile_threshold(scores: np.ndarray, sparsity: float) -> np.float32:
    """The smallest float32 at or below which `sparsity` of the scores lie.

    :param scores: magnitudes, float32, any shape; not changed.
    :param sparsity: share to drop, in [0, 1); 0 gives a threshold that drops nothing, not even zeros.
    """
    wanted = round(sparsity * scores.size)
    if wanted < 1:
        return NOTHING
    return np.float32(np.partition(scores, wanted - 1, axis=None)[wanted - 1])


def dropped(rows: np.ndarray, center: np.ndarray, threshold: np.ndarray | np.float32) -> np.ndarray:
    """Which entries are dropped: |x − c| ≤ τ, bool [R, K].

    :param rows: float32 [R, K].
    :param center: float32 [1] or [K].
    :param threshold: float32 [1] or [K].
    """
    return np.abs(rows - center) <= threshold


def pruned(rows: np.ndarray, center: np.ndarray, threshold: np.ndarray | np.float32) -> np.ndarray:
    """The rows as the pruned layer sees them, float32 [R, K]: dropped entries are replaced by the centre."""
    return np.where(dropped(rows, center, threshold), center, rows)
