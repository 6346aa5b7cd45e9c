"""The two planes of a weight: exact, within their ranges, and with the high one as good as it can be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scap_ov.custom_ops.formats import planes


@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from([1, 3, 32, 128]), st.integers(0, 2**31), st.booleans())
def test_join_undoes_split_and_values_stay_in_range(n, k, group, seed, signed):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, 256, 2))
    raw = rng.integers(low, high + 1, (n, k)).astype(np.uint8)
    made = planes.split(raw.view(np.int8) if signed else raw, group)
    want = raw ^ 128 if signed else raw
    assert (planes.join(made) == want).all()
    step = np.repeat(made.step, group, axis=1)[:, :k]
    assert made.high.max() < 16
    assert (made.low < step).all()
    assert 1 <= made.step.min() <= made.step.max() <= 16
    assert (np.abs(made.missed()) <= (step - 1) / 2).all()


@pytest.mark.parametrize("step", range(1, 17))
def test_every_value_above_every_step_is_divided_exactly(step):
    """The division is a multiplication by a reciprocal in 16 bits."""
    raw = np.arange(16 * step, dtype=np.uint8)[None]
    made = planes.split(raw, raw.size)
    assert (made.step, made.offset) == (step, 0)
    assert (made.high[0] == raw[0] // step).all()
    assert (made.low[0] == raw[0] % step).all()


def test_a_group_of_equal_weights_and_one_of_all_values():
    raw = np.stack([np.full(256, 77, np.uint8), np.arange(256, dtype=np.uint8)])
    made = planes.split(raw, 256)
    assert made.step.tolist() == [[1], [16]]
    assert made.offset.tolist() == [[77], [0]]
    assert not made.missed()[0].any(), "sixteen values or fewer need no low plane"
    assert set(np.abs(made.missed()[1]).tolist()) == {0.5 + i for i in range(8)}


@pytest.mark.parametrize(("group_size", "k", "expected"), [(32, 576, 32), (576, 576, 128), (96, 96, 96), (1 << 20, 200, 128)])
def test_step_group(group_size, k, expected):
    assert planes.step_group(group_size, k) == expected
