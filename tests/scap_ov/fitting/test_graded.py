"""Graded reads: the bytes that were asked for, equal costs per byte at both thresholds, and what older profiles still give."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_profile import make_profile, make_samples, make_sites

import scap_ov.plan
from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.fitting.criteria.graded import GradedCriterion, plane_error
from scap_ov.fitting.fit import fit
from scap_ov.plan import SparsityPlan
from scap_ov.sites import WeightSpec
from scap_ov.statistics.profile import SiteStatistics

MISSED = 0.1  # of the norm of each channel's weights


@pytest.fixture(scope="module")
def old():
    """A profile of 8-bit weights in which nothing is said of their planes."""
    sites = tuple(
        replace(s, layers=tuple(replace(v, weight=WeightSpec("u8", v.in_features, "f16", has_zero_point=True)) for v in s.layers))
        for s in make_sites(2, lm_head=False)
    )
    return make_profile(make_samples(sites, 20), sites)


@pytest.fixture(scope="module")
def profile(old):
    known = {name: SiteStatistics(s.count, {**s.tensors, "missed_norm": MISSED * s.column_norm}) for name, s in old.statistics.items()}
    return replace(old, statistics=known)


@pytest.mark.parametrize("target", [0.2, 0.5, 0.7])
def test_as_many_bytes_are_not_read_as_were_asked_for(profile, target):
    plan = fit(profile, SparsityConfig(method="graded", target_sparsity=target))
    assert plan.expected_sparsity() == pytest.approx(target, abs=0.01)
    for name, entry in plan.entries.items():
        distance = np.abs(profile.statistics[name].rows - entry.center)
        dropped, half = (distance <= entry.threshold).mean(), (distance <= entry.whole_threshold).mean()
        assert entry.expected_dropped == pytest.approx(dropped)
        assert entry.expected_half == pytest.approx(half - dropped)
        assert entry.expected_sparsity == pytest.approx((dropped + half) / 2)
        assert sum(entry.expected_reads().values()) == pytest.approx(1)


def test_a_byte_costs_the_same_at_both_thresholds(profile):
    for name, entry in fit(profile, SparsityConfig(method="graded")).entries.items():
        error = plane_error(profile.statistics[name])
        assert error == pytest.approx(MISSED**2, rel=1e-3)
        at_lower, at_upper = (1 - error) * entry.threshold[0] ** 2, error * entry.whole_threshold[0] ** 2
        assert at_lower == pytest.approx(at_upper, rel=1e-4)


def test_centres_cost_less_than_none(profile):
    """The cost that the criterion minimises, over rows that it is fitted on."""
    criterion = GradedCriterion(SparsityConfig())
    for site in profile.sites:
        statistics = profile.statistics[site.name]
        rows, error = statistics.rows, plane_error(statistics)
        found = criterion.fit_site(site, rows, statistics, 0.5)

        def cost(center, lower, error=error, rows=rows):
            square, worth = np.square(rows - center, dtype=np.float64), (1 - error) * lower**2
            return np.minimum(square, np.minimum(error * square + worth, 2 * worth)).sum()

        assert cost(found.center, found.threshold[0]) <= cost(0.0, found.threshold[0])


def test_profiles_of_before_are_fitted_by_pruning_and_say_so(old):
    plan = fit(old, SparsityConfig(method="graded"))
    pruned = fit(old, SparsityConfig(method="adaptive"))
    assert all(entry.whole_threshold is None for entry in plan.entries.values())
    assert all((plan.entries[name].threshold == entry.threshold).all() for name, entry in pruned.entries.items())
    assert "calibrate again" in plan.notes["pruned_only"]
    assert "pruned_only" not in pruned.notes


def test_plans_keep_both_thresholds_and_newer_ones_are_refused(profile, old, tmp_path, monkeypatch):
    plan = fit(profile, SparsityConfig(method="graded"))
    plan.save(tmp_path / "plan")
    again = SparsityPlan.load(tmp_path / "plan")
    for name, entry in plan.entries.items():
        np.testing.assert_array_equal(again.entries[name].whole_threshold, entry.whole_threshold)
        assert again.entries[name].expected_reads() == entry.expected_reads()
    again.save(tmp_path / "twice")
    assert (tmp_path / "twice").read_bytes() == (tmp_path / "plan").read_bytes()
    monkeypatch.setattr(scap_ov.plan, "_KIND", replace(scap_ov.plan._KIND, newest=1))
    with pytest.raises(UsageError, match=r"version 2, this scap_ov knows up to 1"):
        SparsityPlan.load(tmp_path / "plan")
    fit(old, SparsityConfig(method="adaptive")).save(tmp_path / "pruning")
    SparsityPlan.load(tmp_path / "pruning")  # of version 1


def test_same_profile_gives_the_same_bits(profile):
    one, two = (fit(profile, SparsityConfig(method="graded")) for _ in range(2))
    assert all((one.entries[name].whole_threshold == entry.whole_threshold).all() for name, entry in two.entries.items())
