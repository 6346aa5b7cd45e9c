"""Allocation by sensitivity: the optimum, the constraint, the curves."""

import itertools

import numpy as np
import pytest

from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.fitting.allocation.sensitivity import (
    LEVELS,
    MAX_SPARSITY,
    allocate,
    convex_hull,
    least_loss,
    loss_curve,
    loss_grid,
    predicted_loss,
)
from scap_ov.fitting.criteria.adaptive import AdaptiveCriterion
from scap_ov.scoping import TargetGroup
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec
from scap_ov.statistics.profile import CalibrationProfile, SiteStatistics

CRITERION = AdaptiveCriterion(SparsityConfig())


def site(index, outputs=48, inputs=32):
    return Site(f"block.{index}.down", SiteKind.DOWN, index, (Layer(f"l{index}", inputs, outputs, WeightSpec("f16")),))


def table(loss, level=0.5, power=2.5):
    return {"level": np.atleast_1d(level), "loss": np.atleast_1d(loss), "error": 7.0 * LEVELS**power}


def profile(losses, outputs=None, power=2.5):
    sites = tuple(site(i, *(() if outputs is None else (outputs[i],))) for i in range(len(losses)))
    statistics = {s.name: SiteStatistics(1, {}) for s in sites}  # allocation looks at the tables only
    return CalibrationProfile("f", sites, statistics, 300, {s.name: table(v, power=power) for s, v in zip(sites, losses, strict=True)})


def shares_of(made, target):
    return allocate(made, TargetGroup("", target, made.sites), CRITERION)


@pytest.mark.parametrize("target", [0.0, 0.1, 0.25, 0.4, 0.5, 0.613, 0.7, 0.85, MAX_SPARSITY])
def test_weighted_mean_is_the_target(target):
    made = profile([1e-3, 1e-2, 1e-4, 5e-3], outputs=[8, 64, 24, 48])
    shares = shares_of(made, target)
    counts = np.array([s.weight_count for s in made.sites])
    got = np.average([shares[s.name] for s in made.sites], weights=counts)
    assert got == pytest.approx(target, abs=1e-9)
    assert min(shares.values()) >= 0
    assert max(shares.values()) <= MAX_SPARSITY


def test_sensitive_sites_keep_more():
    shares = list(shares_of(profile([1e-4, 1e-3, 1e-2]), 0.5).values())
    assert shares[0] > shares[1] > shares[2] > 0.1


def test_equal_sites_get_equal_shares():
    assert list(shares_of(profile([1e-3] * 3), 0.4).values()) == pytest.approx([0.4] * 3, abs=0.006)


def test_a_target_of_two_powers_equalises_the_slopes():
    made = profile([1e-3, 4e-3], power=2)  # loss a s², so that s1 : s2 = a2 : a1
    shares = list(shares_of(made, 0.4).values())
    assert shares[0] / shares[1] == pytest.approx(4, rel=0.05)


def test_least_loss_beats_every_allocation_on_a_coarse_grid():
    grid = np.linspace(0, 0.9, 10)
    rng = np.random.default_rng(3)
    weights = np.array([0.2, 0.3, 0.5])
    curves = np.stack([a * grid**p for a, p in zip(rng.uniform(0.1, 2, 3), (2, 3, 2.5), strict=True)])
    best = least_loss(curves, weights, grid, 0.5)
    found = sum(np.interp(s, grid, c) for s, c in zip(best, curves, strict=True))
    tried = [
        sum(c[i] for c, i in zip(curves, point, strict=True))
        for point in itertools.product(range(10), repeat=3)
        if weights @ grid[list(point)] >= 0.5
    ]
    assert weights @ best == pytest.approx(0.5, abs=1e-12)
    assert found <= min(tried) + 1e-12


def test_curve_goes_through_the_measurements_of_a_convex_site():
    one = loss_curve(table(2e-3))
    grid = loss_grid()
    at = {level: float(np.interp(level, grid, one)) for level in (0.3, 0.5, 0.7)}
    assert at[0.5] == pytest.approx(2e-3, rel=0.01)
    assert at[0.7] == pytest.approx(2e-3 * (7 / 5) ** 2.5, rel=0.02)  # shaped by the site's own error
    two = loss_curve(table([at[0.7] * 1.2, at[0.3] * 0.9], [0.7, 0.3]))  # any order of the levels
    assert np.interp(0.7, grid, two) == pytest.approx(at[0.7] * 1.2, rel=0.02)
    assert np.interp(0.3, grid, two) == pytest.approx(at[0.3] * 0.9, rel=0.02)
    assert (np.diff(two) >= 0).all()
    assert two[0] == 0


def test_noise_below_zero_does_not_break_the_curve():
    curve = loss_curve(table([-1e-5, 1e-3], [0.3, 0.6]))
    assert np.isfinite(curve).all()
    assert (np.diff(curve) >= 0).all()


def test_convex_hull_is_below_convex_and_tight_at_the_ends():
    x = np.linspace(0, 1, 21)
    y = x**2 + 0.05 * np.sin(25 * x) + 0.05 * (x > 0)
    hull = convex_hull(x, y)
    assert (hull <= y + 1e-12).all()
    assert (np.diff(hull, 2) >= -1e-12).all()
    assert hull[[0, -1]] == pytest.approx(y[[0, -1]])


def test_prediction_is_the_sum_over_sites():
    made = profile([1e-3, 4e-3])
    assert predicted_loss(made, {s.name: 0.5 for s in made.sites}, AdaptiveCriterion(SparsityConfig())) == pytest.approx(5e-3, rel=0.01)
    assert predicted_loss(made, {}, AdaptiveCriterion(SparsityConfig())) == 0


def test_a_site_that_costs_more_is_pruned_less_whatever_the_order_of_the_sites():
    losses = np.random.default_rng(1).uniform(1e-4, 1e-2, 6)
    shares, turned = (list(shares_of(profile(values), 0.5).values()) for values in (losses, losses[::-1]))
    assert shares == pytest.approx(turned[::-1], abs=1e-6)
    assert (np.argsort(shares) == np.argsort(losses)[::-1]).all()


def test_a_site_without_measurement_is_named():
    made = profile([1e-3, 1e-3])
    bare = CalibrationProfile("f", made.sites, made.statistics, 300, {"block.0.down": made.sensitivity["block.0.down"]})
    with pytest.raises(UsageError, match=r"1 sites have no measured sensitivity \(block\.1\.down\)"):
        shares_of(bare, 0.5)


def test_a_target_above_the_cap_is_refused():
    with pytest.raises(UsageError, match=r"target 0\.95 is above 0\.9"):
        shares_of(profile([1e-3]), 0.95)
