"""CalibrationProfile: shards merge to the bits of one pass, files hold everything, size is bounded."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_profile import make_profile, make_samples, make_sites, small_profile
from safetensors.numpy import save_file

from scap_ov.errors import MismatchError, OutputError, UsageError
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec
from scap_ov.statistics.profile import LEAST_BYTES, LEAST_ROWS, MOST_ROWS, SHARE, CalibrationProfile, capacity_for

SITES = make_sites(1)


@pytest.fixture
def profile() -> CalibrationProfile:
    return small_profile()


def of_other_data(profile: CalibrationProfile, number: int) -> CalibrationProfile:
    """The same statistics, as if of other samples."""
    step = np.uint64(number)
    statistics = {
        name: replace(s, tensors={**s.tensors, "priority": s.tensors["priority"] - step}) for name, s in profile.statistics.items()
    }
    return replace(profile, statistics=statistics)


def assert_same(a: CalibrationProfile, b: CalibrationProfile) -> None:
    assert (a.fingerprint, a.sites, a.capacity, dict(a.metadata)) == (b.fingerprint, b.sites, b.capacity, dict(b.metadata))
    for name, statistics in a.statistics.items():
        other = b.statistics[name]
        assert statistics.count == other.count
        assert set(statistics.tensors) == set(other.tensors)
        for key, value in statistics.tensors.items():
            assert value.dtype == other.tensors[key].dtype
            np.testing.assert_array_equal(value, other.tensors[key], err_msg=f"{name}/{key}")


@given(
    owner=st.lists(st.integers(0, 2), min_size=6, max_size=10), order=st.permutations([0, 1, 2]), capacity=st.sampled_from([16, 50, 400])
)
@settings(max_examples=25, deadline=None)
def test_merging_shards_in_any_order_equals_one_pass_bit_for_bit(owner: list[int], order: list[int], capacity: int) -> None:
    samples = make_samples(SITES, len(owner))
    shards = [make_profile([s for s, o in zip(samples, owner, strict=True) if o == i], SITES, capacity) for i in order if i in owner]
    merged = shards[0].merge(*shards[1:])
    assert_same(merged, make_profile(samples, SITES, capacity))


def test_merging_is_associative() -> None:
    a, b, c = (make_profile(make_samples(SITES, 3, seed=i), SITES, 40) for i in range(3))
    assert_same(a.merge(b).merge(c), a.merge(b.merge(c)))


def test_shards_are_known_until_all_are_there_and_taken_once() -> None:
    a, b, c = (make_profile(make_samples(SITES, 2, seed=i), SITES, 40).of_shard(f"{i + 1}/3") for i in range(3))
    two = c.merge(a)
    assert two.missing_shards == ["2/3"]
    with pytest.raises(MismatchError, match="shard 3/3 is in two of the profiles"):
        two.merge(c)
    whole = two.merge(b)
    assert whole.missing_shards == []
    assert_same(whole, make_profile([s for i in range(3) for s in make_samples(SITES, 2, seed=i)], SITES, 40))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (slice(0, 9), slice(0, 9), "profiles 2 and 3 of those given are of the same data, which would count twice"),
        (slice(0, 9), slice(6, 15), r"\d\d% of the rows that one of profiles 2 and 3 of those given keeps are in the other too"),
        (slice(0, 15), slice(3, 6), "100% of the rows that one of"),
    ],
)
@pytest.mark.parametrize("capacity", [40, 400])
def test_data_that_would_count_twice_is_refused(first: slice, second: slice, message: str, capacity: int) -> None:
    samples = make_samples(SITES, 18)
    third, one, two = (make_profile(samples[part], SITES, capacity) for part in (slice(15, 18), first, second))
    with pytest.raises(MismatchError, match=message):
        third.merge(one, two)
    with pytest.raises(MismatchError, match="count twice"):
        third.merge(one).merge(two)


def test_few_samples_in_common_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """They may be lines that two texts both hold, so it is no fault; nor is it nothing."""
    samples = make_samples(SITES, 60)
    one, two = (make_profile(samples[part], SITES, 4000) for part in (slice(0, 31), slice(30, 60)))
    assert one.merge(two).metadata["samples"] == 61
    assert re.search(r"\d\.\d% of the rows that one of profiles 1 and 2 .* count twice", caplog.text)
    caplog.clear()
    one.merge(make_profile(samples[31:], SITES, 4000))
    assert not caplog.text


def test_what_a_text_repeats_may_be_in_two_shards_of_it_and_in_one_pass() -> None:
    samples = make_samples(SITES, 12)
    one, two = (make_profile(samples[part], SITES, 400) for part in (slice(0, 8), slice(4, 12)))
    whole = one.of_shard("1/2").merge(two.of_shard("2/2"))
    assert_same(whole, one.continued(two))
    assert whole.metadata["samples"] == 16
    with pytest.raises(MismatchError, match="count twice"):
        one.of_shard("1/2").merge(two.of_shard("2/3"))
    with pytest.raises(MismatchError, match="of the same data"):
        one.of_shard("1/2").merge(one.of_shard("2/2"))


def test_sensitivity_outlives_more_than_one_merge(profile: CalibrationProfile) -> None:
    """Levels such as 0.3, averaged with themselves, are 0.3 no more: tables of a third profile did not fit then, and all were dropped."""
    name = profile.sites[0].name
    parts = [
        of_other_data(profile, i).with_sensitivity(
            {name: {"level": np.array([0.3, 0.7]), "loss": np.array([1.0, 2.0]) * i}}, sensitivity_tokens=100 + 41 * i
        )
        for i in range(1, 4)
    ]
    merged = parts[0].merge(*parts[1:])
    np.testing.assert_array_equal(merged.sensitivity[name]["level"], [0.3, 0.7])
    share = np.average([1, 2, 3], weights=[141, 182, 223])
    np.testing.assert_allclose(merged.sensitivity[name]["loss"], [share, 2 * share])


def test_moments_are_those_of_all_rows_and_the_first_position_is_left_out() -> None:
    samples = make_samples(SITES, 5)
    own = make_profile(samples, SITES).statistics["block.0.down"]
    rows = np.concatenate([s.values["block.0.down"][0, 1:] for s in samples]).astype(np.float64)
    assert own.count == 5 * 19
    np.testing.assert_allclose(own.mean, rows.mean(0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(own.variance, rows.var(0), rtol=1e-6)
    np.testing.assert_array_equal(own.tensors["minimum"], rows.min(0).astype(np.float32))
    np.testing.assert_array_equal(own.tensors["maximum"], rows.max(0).astype(np.float32))


def test_the_reservoir_is_a_uniform_sample_of_rows_and_the_same_positions_at_every_site() -> None:
    samples = make_samples(SITES, 40)
    statistics = make_profile(samples, SITES, 64).statistics
    rows = {tuple(r) for s in samples for r in s.values["block.0.o"][0, 1:].astype(np.float16)}
    kept = statistics["block.0.o"].tensors["rows"]
    assert kept.shape == (64, 24)
    assert all(tuple(r) in rows for r in kept)
    np.testing.assert_array_equal(statistics["block.0.o"].tensors["priority"], statistics["block.0.down"].tensors["priority"])


def test_save_and_load_keep_every_bit_and_equal_profiles_give_equal_files(tmp_path, profile) -> None:
    full = profile.with_sensitivity({"block.0.o": {"levels": np.array([0.1, 0.5]), "kl": np.array([0.0, 0.25])}}, sensitivity_passes=7)
    full.save(tmp_path / "a.safetensors")
    again = CalibrationProfile.load(tmp_path / "a.safetensors")
    assert_same(full, again)
    assert list(again.sensitivity) == ["block.0.o"]
    np.testing.assert_array_equal(again.sensitivity["block.0.o"]["kl"], [0.0, 0.25])
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.safetensors", "b.safetensors"]


def test_values_beyond_float16_are_kept_at_its_limit() -> None:
    samples = make_samples(SITES, 1)
    samples[0].values["block.0.o"][0, 3, 5] = 1e6
    own = make_profile(samples, SITES).statistics["block.0.o"]
    assert own.rows[:, 5].max() == 65504
    assert own.tensors["maximum"][5] == 1e6


def test_profiles_of_different_models_are_not_merged(profile) -> None:
    with pytest.raises(MismatchError, match="different models"):
        profile.merge(replace(profile, fingerprint="0" * 64))


def test_sensitivity_tables_are_averaged_over_their_tokens(profile) -> None:
    name = profile.sites[0].name

    def measured(loss: float, tokens: int) -> CalibrationProfile:
        return of_other_data(profile, tokens).with_sensitivity(
            {name: {"level": np.array([0.5]), "loss": np.array([loss])}}, sensitivity_tokens=tokens
        )

    merged = measured(1.0, 300).merge(measured(2.0, 100))
    assert merged.sensitivity[name]["loss"] == pytest.approx([1.25])
    assert merged.metadata["sensitivity_tokens"] == 400
    assert not profile.merge(measured(1.0, 100)).sensitivity  # what one of them lacks cannot be averaged


def test_sequential_profiles_are_not_merged(profile) -> None:
    with pytest.raises(MismatchError, match="sequential"):
        profile.merge(replace(profile, metadata={**profile.metadata, "sequential": True}))


def test_sensitivity_of_an_unknown_site_is_refused(profile) -> None:
    with pytest.raises(UsageError, match=r"block\.9\.o"):
        profile.with_sensitivity({"block.9.o": {"kl": np.zeros(2)}})


def test_what_is_no_profile_is_told_apart(tmp_path, profile) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        CalibrationProfile.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no safetensors")
    with pytest.raises(UsageError, match="cannot be read"):
        CalibrationProfile.load(tmp_path / "text")
    save_file({"x": np.zeros(1)}, str(tmp_path / "other"))
    with pytest.raises(UsageError, match="no calibration profile"):
        CalibrationProfile.load(tmp_path / "other")
    save_file({"x": np.zeros(1)}, str(tmp_path / "newer"), metadata={"scap_ov_profile": json.dumps({"version": 99})})
    with pytest.raises(UsageError, match="version 99"):
        CalibrationProfile.load(tmp_path / "newer")
    with pytest.raises(OutputError, match=r"writing .* failed \(No such file or directory\); choose another place"):
        profile.save(tmp_path / "no such folder" / "p.safetensors")


@given(st.integers(1, 200), st.sampled_from([64, 576, 4096, 11008]))
def test_reservoirs_stay_within_their_budget(count: int, channels: int) -> None:
    site = Site("s", SiteKind.OTHER, 0, (Layer("l", channels, 8, WeightSpec("f16")),))
    rows = capacity_for([site] * count)
    assert LEAST_ROWS <= rows <= MOST_ROWS
    most = max(LEAST_BYTES, SHARE * 2 * site.weight_count * count)
    assert rows == LEAST_ROWS or (rows * 2 + 180) * channels * count <= most
