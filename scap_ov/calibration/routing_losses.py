"""What it costs the model's output when tokens use fewer of their routed experts; from gradients, beside fisher.py.

A layer of experts is linear in its routing weights: leaving experts out changes them by d, and KL(dense ‖ changed) = ½ E[(g·d)²] with g
the gradient there, as at the input of any site.
"""

from __future__ import annotations

import numpy as np

_SAME = 1e-3  # relative spread of the sums over experts up to which routing weights count as normalised


class RoutingLosses:
    """Adds up what gradients tell about one layer.

    :param used: k, experts that a token uses.
    """

    def __init__(self, used: int) -> None:
        self._used = used
        self.sums = np.concatenate([np.zeros(2 * (used - 1)), np.full(2, -np.inf)])  # of both ways, the most and minus the least total

    def add(self, x: np.ndarray, g: np.ndarray) -> None:
        """Some tokens.

        :param x: routing weights, float32 [T, k].
        :param g: the gradient there, float32 [T, k].
        """
        if not len(x):
            return
        order = np.argsort(-x, axis=1, kind="stable")  # the router's TopK takes the largest first
        weight, slope = (np.take_along_axis(values, order, 1).astype(np.float64) for values in (x, g))
        product, total = np.cumsum(weight * slope, axis=1), weight.sum(1, keepdims=True)
        kept = np.maximum(np.cumsum(weight, axis=1)[:, :-1], 1e-12)
        changes = (product[:, :-1] - product[:, -1:], product[:, :-1] * total / kept - product[:, -1:])
        self.sums[:-2] += np.concatenate([np.square(change).sum(0) for change in changes])
        self.sums[-2:] = np.maximum(self.sums[-2:], [total.max(), -total.min()])

    def losses(self, count: int) -> np.ndarray:
        """KL divergence in nats with 1 … k − 1 experts, mean over `count` tokens, float64 [k − 1].

        Routing weights that always had one sum are made to have it again, as the graph does.
        """
        most, least = self.sums[-2], -self.sums[-1]
        plain, normalised = np.split(0.5 * self.sums[:-2] / count, 2)
        return normalised if most - least <= _SAME * abs(most) else plain
