"""Where the search for the largest sparsity looks next. The search itself: tests/scap_ov/calibration/test_calibrate.py."""

import numpy as np
import pytest

from scap_ov.calibration.samples import Piece
from scap_ov.tuning import max_loss
from scap_ov.tuning.max_loss import LEAST, LEAST_OF_PART, MOST, PART, STEP, LossLimit, _Measured, _next


@pytest.mark.parametrize("limit", [0.002, 0.01, 0.05])
@pytest.mark.parametrize(
    "top",
    [
        lambda s: 2e-4 * np.exp(11 * s),
        lambda s: 2e-4 * np.exp(25 * s**2),
        lambda s: 0.003 + 0.5 * s**6,
        lambda s: 1e-4 if s < 0.42 else 3.0,
        lambda s: -1e-3 + 0.08 * s**2,  # gains at first, as a text may
    ],
)
def test_the_search_ends_within_a_step_in_few_tries(limit, top):
    tried = [(LEAST, 0.0, 0.0, float(top(LEAST)))]
    low, high = LEAST, MOST
    while high - low > STEP:
        middle = _next(tried, low, high, limit)
        assert low < middle < high
        tried.append((middle, 0.0, 0.0, float(top(middle))))
        low, high = (middle, high) if top(middle) <= limit else (low, middle)
        assert len(tried) < 20
    if top(LEAST) <= limit:
        assert top(low) <= limit
    assert top(high) > limit or high == MOST


class Losses:
    """Every window loses about as much as the plan says."""

    stock, language = None, True

    def __init__(self):
        self.asked = []

    def losses(self, windows, entries, measure):
        self.asked.append(len(windows))
        return np.array([entries["loss"] * (1 + 0.1 * (w.digest % 3 - 1)) for w in windows])


class Plan:
    def __init__(self, loss):
        self.entries = {"loss": loss}


@pytest.mark.parametrize(("windows", "loss", "asked"), [(32, 0.5, [8]), (32, 0.01, [8, 24]), (31, 0.5, [31]), (4, 0.5, [4])])
def test_a_plan_that_a_part_of_the_text_refuses_is_not_measured_on_the_rest(monkeypatch, windows, loss, asked):
    assert (PART, LEAST_OF_PART) == (4, 8)
    pieces = [Piece({}, np.ones(16, bool), digest) for digest in range(windows)]
    monkeypatch.setattr(max_loss, "pick_pieces", lambda *_: pieces)
    losses = Losses()
    found, half = _Measured(losses, None, LossLimit("kl", 0.02)).loss(Plan(loss))
    assert losses.asked == asked
    assert found == pytest.approx(loss, rel=0.1)
    assert 0 < half < 0.1 * loss
