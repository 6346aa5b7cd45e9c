"""How sure a loss is that was measured on windows of text. For max_loss.

The likelihood of the text that really follows is a coarse measure: at a divergence of 0.01 nats it takes 40,000 tokens to tell it within a
sixth. The divergence itself takes a hundredth of that, and the two go together: to second order in what pruning changes at the logits,
E[-log q + log p] = KL(p ‖ q) for text as likely as the model says, and in the same proportion for other text. So the proportion is taken
from all plans that were measured, heavier ones among them, where it shows best, and the plan's own divergence is multiplied by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scap_ov.tuning.block_losses import WindowLosses

NEAR = 16.0  # times the limit: plans that lose more are not asked; the proportion was the same up to 22 times (ADR 0054)
_SIGMAS = 1.96


def mean_interval(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The mean of all rows, and half of its 95 % interval.

    :param values: means over the rows of each window, float64 [W]. :param counts: rows, float64 [W].
    """
    mean, error = _ratio(values * counts, counts)
    return mean, _SIGMAS * error


def likelihood_interval(own: WindowLosses, near: Sequence[WindowLosses], counts: np.ndarray) -> tuple[float, float]:
    """How much less likely a plan makes the text, in nats per token, and half of the 95 % interval.

    :param own: of the plan. :param near: of the plans that tell the proportion, the plan itself among them.
    :param counts: rows of each window, float64 [W].
    """
    proportion, error = _ratio(sum(f.nll * counts for f in near), sum(f.kl * counts for f in near))
    kl, half = mean_interval(own.kl, counts)
    loss = proportion * kl
    spread = float(np.hypot(_SIGMAS * error * kl, proportion * half))
    measured, wide = mean_interval(own.nll, counts)
    return max(loss, measured - wide), spread  # what was measured is not argued away


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, float]:
    """A ratio of sums over windows and its standard error."""
    n, total = len(numerator), max(float(denominator.sum()), 1e-30)
    ratio = float(numerator.sum() / total)
    return ratio, float(np.sqrt(np.square(numerator - ratio * denominator).sum() * n / (n - 1)) / total)
