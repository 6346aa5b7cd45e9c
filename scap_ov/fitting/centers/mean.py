"""The mean of all values of a tensor."""

from __future__ import annotations

import numpy as np


def mean_center(rows: np.ndarray) -> tuple[float, ...]:
    """Mean over rows and channels, float32 [R, K]."""
    return (float(rows.mean(dtype=np.float64)),)
