"""The two planes of a weight: exact, within their ranges, and with the high one as good as it can be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scap_ov.custom_ops.formats import native, planes


@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from([1, 3, 32, 128]), st.integers(0, 2**31), st.booleans())
def test_join_undoes_split_and_values_stay_in_range(n, k, group, seed, signed):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, 256, 2))
    raw = rng.integers(low, high + 1, (n, k)).astype(np.uint8)
    made = planes.split(raw.view(np.int8) if signed else raw, group)
    want = raw ^ 128 if signed else raw
    assert (planes.join(made) == want).all()
    assert max(made.high.max(), made.low.max()) < 16
    assert 1 <= made.step.min() <= made.step.max() <= 16
    assert planes.is_low_plane(made.low[0], want[0], group)


@given(st.integers(1, 70), st.integers(0, 2**31))
def test_the_library_searches_as_numpy_does_and_misses_no_more_than_without_a_search(group, seed):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, 256, 2))
    q = rng.integers(low, high + 1, (3, 2, group)).astype(np.uint8)
    library = native.library()
    assert library is not None
    step, offset = planes._chosen(q)
    for own, other in zip((step, offset), planes._chosen_by(library.scap_ov_plane_steps, q), strict=True):
        np.testing.assert_array_equal(own, other)
    o, top = q.min(2, keepdims=True), q.max(2, keepdims=True)
    assert (planes._missed(q, step, offset) <= planes._missed(q, (top - o) // np.uint8(16) + np.uint8(1), o)).all()


def test_normal_weights_miss_a_tenth_less_than_without_a_search():
    w = np.random.default_rng(0).standard_normal((64, 1024))
    low, high = w.min(1, keepdims=True), w.max(1, keepdims=True)
    q = np.round((w - low) / ((high - low) / 255)).astype(np.uint8)
    made = planes.split(q, 64)
    grouped = q.reshape(64, 16, 64)
    o, top = grouped.min(2, keepdims=True), grouped.max(2, keepdims=True)
    before = planes._missed(grouped, (top - o) // np.uint8(16) + np.uint8(1), o).sum() / 4
    assert np.square(made.missed()).sum() < 0.93 * before


def test_planes_that_were_made_without_a_search_are_known_and_those_of_another_weight_are_not():
    rng = np.random.default_rng(0)
    q, other = rng.integers(60, 190, (2, 256)).astype(np.uint8)
    o, top = q.min(), q.max()
    step = (int(top) - int(o)) // 16 + 1
    low = ((q - o) % step).astype(np.uint8)
    assert planes.is_low_plane(low, q, 256)
    assert not planes.is_low_plane(low, other, 256)


@pytest.mark.parametrize("step", range(1, 17))
def test_every_value_above_every_step_is_divided_exactly(step):
    """The division is a multiplication by a reciprocal in 16 bits; what lies above the sixteenth step belongs to it."""
    above = np.arange(min(15 * step + 16, 256), dtype=np.uint8)
    assert (planes._divided(above, np.array([step], np.uint8)) == np.minimum(above // step, 15)).all()


def test_a_group_of_equal_weights_and_one_of_all_values():
    raw = np.stack([np.full(256, 77, np.uint8), np.arange(256, dtype=np.uint8)])
    made = planes.split(raw, 256)
    assert made.step.tolist() == [[1], [16]]
    assert made.offset.tolist() == [[77], [0]]
    assert not made.missed()[0].any(), "sixteen values or fewer need no low plane"
    assert set(np.abs(made.missed()[1]).tolist()) == {0.5 + i for i in range(8)}


@pytest.mark.parametrize(("group_size", "k", "expected"), [(32, 576, 32), (576, 576, 64), (96, 96, 64), (48, 48, 48), (1 << 20, 200, 64)])
def test_step_group(group_size, k, expected):
    assert planes.step_group(group_size, k) == expected
