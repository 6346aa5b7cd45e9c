"""Scalar centres of a tensor, each a function from its rows to candidates. A new one is a file here and a line in CENTERS."""

from collections.abc import Callable

import numpy as np

from scap_ov.fitting.centers.best import best_center
from scap_ov.fitting.centers.mean import mean_center
from scap_ov.fitting.centers.median import median_center
from scap_ov.fitting.centers.mode import mode_center
from scap_ov.fitting.centers.zero import zero_center

CENTERS: dict[str, Callable[[np.ndarray], tuple[float, ...]]] = {
    "zero": zero_center,
    "mean": mean_center,
    "median": median_center,
    "mode": mode_center,
}

__all__ = ["CENTERS", "best_center"]
