"""What `lm_head="auto"` comes to: ADR 0043."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_profile import make_profile, make_samples, make_sites

from scap_ov.config import SparsityConfig
from scap_ov.fitting.fit import fit
from scap_ov.fitting.output_projection import decided, with_dense_head
from scap_ov.sites import WeightSpec
from scap_ov.statistics.profile import CalibrationProfile, SiteStatistics

LEVEL, LOSS, ERROR = np.array([0.3, 0.6]), np.array([0.01, 0.1]), np.linspace(0.01, 1, 10)


@pytest.fixture(scope="module")
def old() -> CalibrationProfile:
    """A profile of 8-bit weights in which nothing is said of their planes."""
    sites = tuple(
        replace(s, layers=tuple(replace(v, weight=WeightSpec("u8", v.in_features, "f16", has_zero_point=True)) for v in s.layers))
        for s in make_sites(2)
    )
    return make_profile(make_samples(sites, 10), sites)


@pytest.fixture(scope="module")
def profile(old: CalibrationProfile) -> CalibrationProfile:
    """One that knows what reading by half costs, at the projection as elsewhere."""
    known = {name: SiteStatistics(s.count, {**s.tensors, "missed_norm": 0.1 * s.column_norm}) for name, s in old.statistics.items()}
    table = {f"{form}{key}": value for form in ("", "graded_") for key, value in (("level", LEVEL), ("loss", LOSS), ("error", ERROR))}
    return replace(old, statistics=known, sensitivity=dict.fromkeys(known, table))


def test_asked_for_it_takes_part_in_the_allotment(profile: CalibrationProfile) -> None:
    plan = fit(profile, SparsityConfig(lm_head=True))
    head = plan.entries["lm_head"]
    assert head.whole_threshold is not None
    assert head.expected_sparsity > 0.1
    assert plan.expected_sparsity() == pytest.approx(0.5, abs=0.01)
    assert plan.sites[-1].name == "lm_head"


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ({}, False),
        ({"lm_head": True}, True),
        ({"lm_head": False}, False),
        ({"method": "scap"}, False),
        ({"method": "scap", "lm_head": True}, True),
        ({"method": "scap", "target_sparsity": {"lm_head": 0.3}}, True),
    ],
)
def test_when_it_is_a_site(profile: CalibrationProfile, values: dict[str, object], taken: bool) -> None:
    config = SparsityConfig(**values)
    assert decided(profile, config).lm_head is taken
    assert ("lm_head" in fit(profile, config).entries) is taken


def test_an_ignored_projection_is_left_alone(profile: CalibrationProfile) -> None:
    plan = fit(profile, SparsityConfig(ignored_scope=("lm_head",)))
    assert "lm_head" not in plan.entries
    assert with_dense_head(plan, profile.sites) == plan


def test_by_default_it_is_whole_and_does_not_count(old: CalibrationProfile) -> None:
    plan = fit(old)
    assert "lm_head" not in plan.entries
    before = fit(old, SparsityConfig(lm_head=False))
    assert plan.expected_sparsity() == before.expected_sparsity()
    dense = with_dense_head(plan, old.sites)
    assert dense.entries["lm_head"].drops_nothing
    assert dense.sites[-1].name == "lm_head"
    assert dense.expected_sparsity() == before.expected_sparsity()  # it does not count
    assert with_dense_head(before, old.sites) is before


def test_levels_have_it_dense_too(old: CalibrationProfile) -> None:
    dense = with_dense_head(fit(old, SparsityConfig(levels=(0, 0.4))), old.sites)
    assert all(entries["lm_head"].drops_nothing for entries in dense.levels.values())
