"""Alternation, ratios, and the decision which sites stay stock."""

from __future__ import annotations

import numpy as np
import pytest

from scap_ov.benchmarking.paired import Spread, alternate, median_ratio
from scap_ov.benchmarking.site_gain import _losing, sites_that_lose
from scap_ov.config import SparsityConfig
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec


def test_runs_alternate_and_the_warm_up_does_not_count() -> None:
    calls = []

    def run(name: str):
        def one(turn: int) -> int:
            calls.append((name, turn))
            return turn

        return one

    steps = []
    results = alternate({"a": run("a"), "b": run("b")}, 2, progress=lambda done, total: steps.append((done, total)))
    assert calls == [("a", -1), ("b", -1), ("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert results == {"a": [0, 1], "b": [0, 1]}
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_the_ratio_is_of_neighbours() -> None:
    """A machine that slows down by ten in the middle changes nothing."""
    assert median_ratio([2, 20, 20], [1, 10, 10]) == 2
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def plan() -> SparsityPlan:
    weight = WeightSpec("i4", 32, "f16")
    small, large = (tuple(Layer(f"{i}.{n}", 64, n, weight) for i in range(1)) for n in (64, 4096))
    sites = (
        Site("a", SiteKind.O, 0, small),
        Site("b", SiteKind.O, 1, small),
        Site("c", SiteKind.UP, 0, large),
        Site("d", SiteKind.UP, 1, large),
    )
    nothing = np.zeros(1, np.float32)
    entries = {name: SitePlan(name, nothing, nothing, s) for name, s in (("a", 0.5), ("b", 0.52), ("c", 0.5))}
    return SparsityPlan(SparsityConfig(), "f", sites, entries)


def test_sites_that_lose_stay_stock_with_the_figures_and_each_shape_is_measured_once() -> None:
    measured = []

    def gain(site: Site, sparsity: float, config: SparsityConfig) -> float:
        measured.append((site.name, sparsity))
        return 0.9 if site.out_features == 64 else 1.5

    reasons = sites_that_lose(plan(), gain=gain)
    assert measured == [("a", 0.5), ("c", 0.5)]
    assert reasons == dict.fromkeys("ab", "the op would be slower here: 0.90x at 50% for 64 -> 64 i4")


@pytest.mark.parametrize(("wins_from", "measurements"), [(0.0, 1), (0.5, 4), (1.0, 4)])
def test_where_the_op_begins_to_win_is_found_by_bisection(wins_from: float, measurements: int) -> None:
    levels = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    asked = []

    def gain(level: float) -> float:
        asked.append(level)
        return 1.5 if level >= wins_from else level

    losing = _losing(levels, gain)
    below = [level for level in levels if level < wins_from]
    assert losing == ((below[-1], below[-1]) if below else None)
    assert len(asked) <= measurements
