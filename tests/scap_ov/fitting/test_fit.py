"""Every method hits the sparsity that was asked for, drops what its rule says, and gives the same bits twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_profile import make_profile, make_samples, make_sites, make_weights, small_profile

from scap_ov.config import METHODS, SparsityConfig
from scap_ov.errors import BadModelError, UsageError
from scap_ov.fitting.allocation import ALLOCATIONS
from scap_ov.fitting.criteria import CRITERIA
from scap_ov.fitting.criteria.adaptive import LEAST_DROPPED
from scap_ov.fitting.fit import fit
from scap_ov.fitting.output_error import output_error
from scap_ov.fitting.thresholds import dropped, pruned, quantile_threshold
from scap_ov.plan import SparsityPlan
from scap_ov.sites import SiteKind
from scap_ov.statistics.profile import CalibrationProfile, SiteStatistics

BY_THRESHOLD = [m for m in METHODS if m != "cats"]


@pytest.fixture
def profile() -> CalibrationProfile:
    return small_profile()


def test_the_registries_hold_what_the_configuration_offers() -> None:
    assert set(CRITERIA) == set(METHODS)
    assert {c.allocation for c in CRITERIA.values()} == set(ALLOCATIONS)


@pytest.mark.parametrize("method", BY_THRESHOLD)
@given(target=st.floats(0.02, 0.9))
@settings(max_examples=8, deadline=None)
def test_the_asked_sparsity_is_hit_within_half_a_point(method: str, target: float) -> None:
    profile = small_profile()
    plan = fit(profile, SparsityConfig(method=method, target_sparsity=target))
    assert abs(plan.expected_sparsity() - target) <= 0.005
    for name, entry in plan.entries.items():
        measured = dropped(profile.statistics[name].rows, entry.center, entry.threshold).mean()
        assert measured == pytest.approx(entry.expected_sparsity, abs=1e-12)


@pytest.mark.parametrize("center", ["zero", "mean", "median", "mode", "output_error"])
def test_every_centre_hits_the_asked_sparsity_at_every_site(profile, center: str) -> None:
    plan = fit(profile, SparsityConfig(method="scap", center=center, target_sparsity=0.37))
    assert len(plan.entries) == 8
    for entry in plan.entries.values():
        assert entry.center.shape == entry.threshold.shape == (1,)
        assert abs(entry.expected_sparsity - 0.37) <= 0.005


@pytest.mark.parametrize("method", METHODS)
def test_fit_gives_the_same_bits_twice_and_the_plan_survives_its_file(tmp_path, profile, method: str) -> None:
    config = SparsityConfig(method=method, target_sparsity=0.3, scope="ffn")
    profile.save(tmp_path / "profile")
    for name, source in (("a", profile), ("b", CalibrationProfile.load(tmp_path / "profile"))):
        fit(source, config).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    SparsityPlan.load(tmp_path / "a").save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def test_zero_sparsity_prunes_nothing(profile) -> None:
    for method in METHODS:
        assert fit(profile, SparsityConfig(method=method, target_sparsity=0.0)).entries == {}


def test_two_group_targets_and_sites_that_stay_stock(profile) -> None:
    plan = fit(profile, SparsityConfig(method="scap", target_sparsity={"up": 0.4, "down": 0.6}))
    assert {n.split(".")[-1]: round(e.expected_sparsity, 2) for n, e in plan.entries.items()} == {"up": 0.4, "down": 0.6}
    weight = {k: sum(s.weight_count for s in plan.sites if s.kind is k) for k in SiteKind}
    expected = (0.4 * weight[SiteKind.UP] + 0.6 * weight[SiteKind.DOWN]) / sum(weight.values())
    assert plan.expected_sparsity() == pytest.approx(expected, abs=0.005)


def test_the_target_is_a_mean_over_the_scope_the_plan_counts_all_block_sites(profile) -> None:
    plan = fit(profile, SparsityConfig(scope="ffn", target_sparsity=0.5))
    ffn = [s for s in plan.sites if s.kind in (SiteKind.UP, SiteKind.DOWN)]
    mean = np.average([plan.entries[s.name].expected_sparsity for s in ffn], weights=[s.weight_count for s in ffn])
    assert mean == pytest.approx(0.5, abs=0.005)
    assert plan.expected_sparsity() < 0.45
    assert len(plan.sites) == 8


def test_the_output_projection_joins_when_asked_for(profile) -> None:
    plan = fit(profile, SparsityConfig(method="scap", lm_head=True))
    assert plan.entries["lm_head"].expected_sparsity == pytest.approx(0.5, abs=0.005)
    assert plan.expected_sparsity() == pytest.approx(0.5, abs=0.005)


def test_adaptive_centres_are_the_means_of_what_is_dropped() -> None:
    sites = make_sites(1, lm_head=False)
    large = make_profile(make_samples(sites, 100), sites, 1900)
    for name, entry in fit(large, SparsityConfig()).entries.items():
        rows = large.statistics[name].rows
        mask = dropped(rows, entry.center, entry.threshold)
        mean = (rows * mask).sum(0) / mask.sum(0)
        np.testing.assert_allclose(entry.center, mean, atol=0.05 * entry.threshold[0])


def test_adaptive_leaves_less_output_error_than_zero_centres_at_the_same_sparsity(profile) -> None:
    for site in profile.sites:
        statistics, rows = profile.statistics[site.name], profile.statistics[site.name].rows
        errors = {}
        for method in ("adaptive", "scap"):
            found = CRITERIA[method](SparsityConfig(method=method)).fit_site(site, rows, statistics, 0.5)
            difference = (rows - pruned(rows, found.center, found.threshold)).astype(np.float64)
            errors[method] = sum(np.square(difference @ w.T).sum() for w in make_weights(site))
        assert errors["adaptive"] < errors["scap"]


def test_a_channel_with_fewer_than_eight_dropped_rows_keeps_its_centre() -> None:
    sites = make_sites(1, lm_head=False)
    samples = make_samples(sites, 4)
    for index, sample in enumerate(samples):
        sample.values["block.0.o"][..., 3] = 100 * (1 + index) + 5 * np.arange(20)  # nowhere two within a threshold
        sample.values["block.0.o"][0, 1, 3] = 0.01  # but for one row of each sample: 4 in all
    entry = fit(make_profile(samples, sites), SparsityConfig()).entries["block.0.o"]
    assert len(samples) < LEAST_DROPPED
    assert entry.threshold < 5
    assert entry.center[3] == 0


def test_wina_thresholds_are_inverse_to_the_norms_of_the_columns(profile) -> None:
    entry = fit(profile, SparsityConfig(method="wina")).entries["block.0.up"]
    norm = np.linalg.norm(np.concatenate(make_weights(profile.sites[2])), axis=0)
    np.testing.assert_allclose(entry.threshold * norm, (entry.threshold * norm)[0], rtol=1e-5)


def test_wina_always_drops_channels_without_weights(profile) -> None:
    statistics = profile.statistics["block.0.o"]
    norm = statistics.column_norm.copy()
    norm[4] = 0
    bare = SiteStatistics(statistics.count, {**statistics.tensors, "column_norm": norm})
    found = CRITERIA["wina"](SparsityConfig(method="wina")).fit_site(profile.sites[1], bare.rows, bare, 0.5)
    assert dropped(bare.rows, found.center, found.threshold)[:, 4].all()
    assert np.isfinite(found.threshold).all()


def test_topk_says_that_it_is_a_reference(profile) -> None:
    assert "reference_only" in fit(profile, SparsityConfig(method="topk")).notes


def test_cats_drops_the_asked_share_of_the_gate_and_of_the_bytes(profile) -> None:
    plan = fit(profile, SparsityConfig(method="cats", scope="ffn", target_sparsity=1 / 3))
    assert plan.notes["rewrite"] == "cats"
    ffn = [s for s in plan.sites if s.kind in (SiteKind.UP, SiteKind.DOWN)]
    skipped = sum(plan.entries[s.name].expected_sparsity * s.weight_count for s in ffn)
    assert skipped / sum(s.weight_count for s in ffn) == pytest.approx(1 / 3, abs=1e-6)
    gate = np.concatenate([s.values["block.0.down|gate"][0, 1:] for s in make_samples(make_sites(2), 30)])
    share = (np.abs(gate) <= plan.entries["block.0.down"].threshold).mean()
    assert share == pytest.approx(plan.entries["block.0.down"].expected_sparsity, abs=0.01)
    assert plan.entries["block.0.up"].threshold == -1


def test_cats_refuses_what_it_cannot_do(profile) -> None:
    with pytest.raises(UsageError, match=r"cats prunes only up and down, .* set scope to 'ffn'"):
        fit(profile, SparsityConfig(method="cats", target_sparsity=0.5))
    with pytest.raises(UsageError, match="give one number"):
        fit(profile, SparsityConfig(method="cats", target_sparsity={"up": 0.3}))
    sites = make_sites(1)
    samples = make_samples(sites, 2)
    for sample in samples:
        del sample.values["block.0.down|gate"]
    with pytest.raises(BadModelError, match="needs a gated FFN"):
        fit(make_profile(samples, sites), SparsityConfig(method="cats", scope="ffn", target_sparsity=0.3))


def test_an_option_of_another_method_is_refused(profile) -> None:
    with pytest.raises(UsageError, match="belongs to method 'scap'"):
        fit(profile, SparsityConfig(method="teal", center="mode"))


def test_teal_gives_every_block_the_target_and_less_error_than_uniform(profile) -> None:
    plan = fit(profile, SparsityConfig(method="teal", target_sparsity=0.5))
    for block in (0, 1):
        own = [s for s in plan.sites if s.block == block]
        mean = np.average([plan.entries[s.name].expected_sparsity for s in own], weights=[s.weight_count for s in own])
        assert mean == pytest.approx(0.5, abs=0.005)
        uniform = fit(profile, SparsityConfig(method="scap", target_sparsity=0.5))
        assert error_of(profile, plan, own) < 0.97 * error_of(profile, uniform, own)


def error_of(profile, plan, sites) -> float:
    """What the greedy allocation makes small: output errors of the sites, each relative, times the energy that it feeds into the stream."""
    writer = {"qkv": "o", "up": "down"}
    energy, relative = {}, {}
    for site in sites:
        own, entry = profile.statistics[site.name], plan.entries[site.name]
        rows, sketch = own.rows, own.tensors["sketch"]
        dropped = np.where(np.abs(rows - entry.center) <= entry.threshold, rows - entry.center, 0)
        energy[site.kind.value] = np.square(rows @ sketch.T).sum()
        relative[site.kind.value] = np.square(dropped @ sketch.T).sum() / energy[site.kind.value]
    return float(sum(share * energy[writer.get(kind, kind)] for kind, share in relative.items()))


def test_teal_refuses_a_target_beyond_its_last_step(profile) -> None:
    with pytest.raises(UsageError, match=r"at most 0\.95"):
        fit(profile, SparsityConfig(method="teal", target_sparsity=0.97))


def test_adaptive_without_sensitivity_falls_back_to_kinds_and_says_so(profile) -> None:
    plan = fit(profile, SparsityConfig(target_sparsity=0.5))
    assert plan.notes["allocation"] == "kind offsets"
    share = {n.split(".")[-1]: e.expected_sparsity for n, e in plan.entries.items()}
    assert share["down"] > share["o"] > share["qkv"] > share["up"]


def test_progress_counts_all_sites(profile) -> None:
    seen: list[tuple[int, int]] = []
    fit(profile, SparsityConfig(method="scap"), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 8) for i in range(1, 9)]


@given(values=st.lists(st.floats(0, 100, width=32), min_size=1, max_size=200), sparsity=st.floats(0, 0.999))
def test_a_threshold_drops_at_least_the_asked_share_and_no_more_than_ties_force(values: list[float], sparsity: float) -> None:
    scores = np.array(values, np.float32)
    threshold = quantile_threshold(scores, sparsity)
    wanted = round(sparsity * scores.size)
    assert (scores <= threshold).sum() >= wanted
    assert (scores < threshold).sum() < max(wanted, 1)


def test_the_sketch_estimates_output_errors(profile) -> None:
    for site in profile.sites:
        rows = profile.statistics[site.name].rows
        exact = np.mean(sum(np.square(rows @ w.T).sum(1) for w in make_weights(site)))
        assert output_error(rows, profile.statistics[site.name].sketch) == pytest.approx(exact, rel=0.35)
