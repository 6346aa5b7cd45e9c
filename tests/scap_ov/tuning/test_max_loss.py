"""Where the search for the largest sparsity looks next, and how sure a loss is. The search itself: test_calibrate.py."""

import numpy as np
import pytest
from small_onnx import small_decoder, token_data

from scap_ov.calibration.run_onnx import observe
from scap_ov.config import SparsityConfig
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.opened_onnx import opened_onnx
from scap_ov.tuning.block_losses import WindowLosses
from scap_ov.tuning.interval import likelihood_interval, mean_interval
from scap_ov.tuning.max_loss import (
    _GRID,
    ENOUGH,
    MAX_SPARSITY,
    MIN_SPARSITY,
    STEP,
    TRIES,
    LossLimit,
    first_target,
    largest_sparsity,
    next_target,
)

TOPS = {
    "as expected": lambda s: 2e-4 * np.exp(11 * s),
    "steeper": lambda s: 2e-4 * np.exp(25 * s**2),
    "flat, then steep": lambda s: 0.003 + 0.5 * s**6,
    "a cliff": lambda s: 1e-4 if s < 0.42 else 3.0,
    "gains at first": lambda s: -1e-3 + 0.08 * s**2,
    "ten times what was expected": lambda s: 2e-3 * np.exp(11 * s),
}


@pytest.mark.parametrize("limit", [0.002, 0.01, 0.05])
@pytest.mark.parametrize("name", TOPS)
def test_the_search_ends_near_the_limit_in_few_tries(limit, name):
    shape, top = np.log(2e-4) + 11 * _GRID, TOPS[name]
    tried, target = {}, first_target(shape, limit)
    while target is not None:
        assert MIN_SPARSITY <= target <= MAX_SPARSITY
        assert target not in tried
        tried[target] = float(top(target))
        target = next_target(shape, tried, limit)
    assert len(tried) <= TRIES
    low = max((t for t in tried if tried[t] <= limit), default=None)
    if low is None:
        assert min(tried) == MIN_SPARSITY
        return
    above = min((t for t in tried if t > low), default=None)
    assert tried[low] >= ENOUGH * limit or low == MAX_SPARSITY or above - low <= STEP + 1e-9
    if name == "as expected":
        assert len(tried) == 2


def windows(kl: float, proportion: float, noise: float, seed: int = 0) -> WindowLosses:
    rng = np.random.default_rng(seed)
    own = kl * (1 + 0.05 * rng.standard_normal(16))
    return WindowLosses(own, proportion * own + noise * np.sqrt(kl) * rng.standard_normal(16))


def test_heavier_plans_make_a_loss_more_certain():
    counts = np.full(16, 511.0)
    light, heavy = windows(0.01, 0.8, 0.06), windows(0.04, 0.8, 0.06, seed=1)
    alone, half = likelihood_interval(light, [light], counts)
    both, less = likelihood_interval(light, [light, heavy], counts)
    assert less < 0.7 * half < 0.7 * mean_interval(light.nll, counts)[1] * 1.05
    assert both == pytest.approx(0.008, abs=2 * less)
    assert alone == pytest.approx(0.008, abs=2 * half)


def test_what_was_measured_is_not_argued_away():
    """A plan whose own text says that it loses more than its divergence lets expect."""
    counts = np.full(16, 511.0)
    kl = np.full(16, 0.01)
    worse = WindowLosses(kl, np.full(16, 0.03))
    usual = WindowLosses(8 * kl, 0.5 * 8 * kl)
    loss, _ = likelihood_interval(worse, [worse, usual], counts)
    assert loss == pytest.approx(0.03)


@pytest.mark.parametrize("measure", ["kl", "perplexity"])
def test_an_onnx_model_has_a_largest_sparsity_too(measure):
    model = opened_onnx(open_onnx(small_decoder()))
    data, limit = token_data(), LossLimit(measure, 0.02)
    found = largest_sparsity(model, data, observe(model, data), SparsityConfig(method="scap"), limit)
    assert found.low <= found.loss <= found.high <= limit.value
    assert found.plan.entries
