"""What fewer experts cost is what the gradient says of the routing weights that change, normalised where the graph does that."""

from __future__ import annotations

import numpy as np
import pytest

from scap_ov.calibration.routing_losses import RoutingLosses

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("normalised", [False, True])
def test_half_the_mean_square_of_what_the_likelihood_loses(normalised):
    weight = RNG.random((30, 4)).astype(np.float32)
    if normalised:
        weight /= weight.sum(1, keepdims=True)
    slope = RNG.standard_normal((30, 4)).astype(np.float32)
    losses = RoutingLosses(4)
    losses.add(weight[:10], slope[:10])
    losses.add(weight[10:], slope[10:])
    for left in (1, 2, 3):
        change = []
        for w, g in zip(weight.astype(np.float64), slope.astype(np.float64), strict=True):
            kept = np.argsort(-w)[:left]
            new = np.zeros(4)
            new[kept] = w[kept] / (w[kept].sum() if normalised else 1)
            change.append(g @ (new - w))
        assert losses.losses(30)[left - 1] == pytest.approx(0.5 * np.mean(np.square(change)), rel=1e-4)


def test_sums_are_all_there_is_to_keep():
    one, two = RoutingLosses(3), RoutingLosses(3)
    weight, slope = RNG.random((2, 8, 3), dtype=np.float32)
    one.add(weight, slope)
    two.sums[:] = one.sums
    np.testing.assert_array_equal(one.losses(8), two.losses(8))
    assert RoutingLosses(1).losses(8).size == 0
