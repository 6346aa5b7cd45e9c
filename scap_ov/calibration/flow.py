"""A window on its way through the blocks of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scap_ov.calibration.samples import CalibrationWindow as Window
    from scap_ov.gradients.piecewise import Values


@dataclass
class Flow:
    """One window on its way through the blocks.

    :param window: where it comes from.
    :param values: what every block may read: masks, positions, shapes.
    :param hidden: the tensor at the border that was reached, float32 [..., H].
    """

    window: Window
    values: Values
    hidden: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
