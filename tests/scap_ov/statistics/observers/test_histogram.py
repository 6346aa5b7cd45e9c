"""The fixed histogram: every value is counted once, near where it is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scap_ov.statistics.observers.histogram import BINS, bin_edges, histogram, magnitude_quantile

VALUES = st.lists(st.floats(-(2.0**16), 2.0**16, width=32, exclude_min=True, exclude_max=True), min_size=1, max_size=50)


@given(VALUES)
def test_counts_agree_with_the_edges(values: list[float]) -> None:
    array = np.array(values, np.float32)
    magnitude = np.abs(array)
    edges = bin_edges()[BINS // 2 :]
    where = np.searchsorted(edges, magnitude, side="right") - 1
    index = np.where(np.signbit(array), BINS // 2 - 1 - where, BINS // 2 + where)
    np.testing.assert_array_equal(histogram(array), np.bincount(index, minlength=BINS))


def test_what_lies_beyond_is_counted_in_the_outermost_bins() -> None:
    counts = histogram(np.array([1e9, -1e9, 3e38, -0.0, 0.0, 1e-30], np.float32))
    assert (counts[0], counts[-1], counts[BINS // 2 - 1], counts[BINS // 2]) == (1, 2, 1, 2)


@given(st.floats(0.01, 0.99), st.floats(-8, 8))
def test_quantiles_of_the_magnitude_are_within_a_bin(share: float, log_scale: float) -> None:
    values = (np.random.default_rng(3).standard_normal(20_000) * 2.0**log_scale).astype(np.float32)
    found = magnitude_quantile(histogram(values), share)
    assert abs((np.abs(values) <= found).mean() - share) < 0.002
