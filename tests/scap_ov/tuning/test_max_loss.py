"""Where the search for the largest sparsity looks next. The search itself: tests/scap_ov/calibration/test_calibrate.py."""

import numpy as np
import pytest

from scap_ov.tuning.max_loss import LEAST, MOST, STEP, _next


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
