"""What fits share and look for near what they had is what plain numpy gives."""

from __future__ import annotations

import numpy as np
import pytest

from scap_ov.fitting.mean_shift import FULL_ROWS, Distances, Sample
from scap_ov.fitting.thresholds import NOTHING, quantile_threshold

RNG = np.random.default_rng(11)


@pytest.mark.parametrize("rows", [1, 2, 64, 65, FULL_ROWS + 9])
def test_median_is_that_of_the_first_rows(rows):
    x = RNG.standard_normal((rows, 7)).astype(np.float32)
    np.testing.assert_array_equal(Sample(x).median, np.median(x[:FULL_ROWS], axis=0))
    assert Sample(x).median.dtype == np.float32


@pytest.mark.parametrize(
    "make", [RNG.standard_normal, lambda size: np.round(RNG.standard_normal(size), 1), np.zeros], ids=["normal", "ties", "zeros"]
)
@pytest.mark.parametrize("ratio", [None, np.float32(7.3)])
def test_a_quantile_near_the_one_before_is_the_quantile(make, ratio):
    """Bit for bit, whether the centre moves a little or far."""
    x = make((80, 33)).astype(np.float32)
    distances = Distances(x, copies=1 if ratio is None else 2)
    for sparsity in (0.02, 0.5, 0.93):
        for center in (0, 0.01, 0.013, 2.0, -1.5):
            own = np.abs(x - np.float32(center))
            np.testing.assert_array_equal(distances.of(np.float32(center)), own)
            scores = own if ratio is None else np.concatenate([own, own / ratio])
            assert distances.quantile(sparsity, len(x), ratio) == quantile_threshold(scores, sparsity)


def test_a_share_of_no_entry_drops_nothing():
    assert Distances(np.zeros((2, 3), np.float32)).quantile(0.01, 2) == NOTHING


def test_counts_and_sums_below_a_threshold():
    x = RNG.standard_normal((50, 9)).astype(np.float32)
    distances = Distances(x)
    distances.of(np.zeros(9, np.float32))
    count, total = distances.below(np.float32(0.6))
    np.testing.assert_array_equal(count, (np.abs(x) <= 0.6).sum(0))
    np.testing.assert_allclose(total, np.where(np.abs(x) <= 0.6, x, 0).sum(0, dtype=np.float64), rtol=1e-12)
