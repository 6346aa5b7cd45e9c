"""Alternation, ratios, and the decision which sites stay stock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from scap_ov.benchmarking.measured import Measurements
from scap_ov.benchmarking.paired import Spread, alternate, median_ratio
from scap_ov.benchmarking.site_gain import _losing, sites_that_lose
from scap_ov.benchmarking.site_models import repeated, sparse_model, stock_model
from scap_ov.config import SparsityConfig
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.runtime import register
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


def test_a_shape_that_was_measured_before_is_not_measured_again(tmp_path: Path) -> None:
    kept = {}

    def gain(site: Site, sparsity: float, config: SparsityConfig) -> float:
        assert kept.setdefault((site.out_features, sparsity), 0) == 0
        kept[site.out_features, sparsity] = 1
        return 0.9 if site.out_features == 64 else 1.5

    first = sites_that_lose(plan(), measured=Measurements(tmp_path / "cache"), gain=gain)
    again = Measurements(tmp_path / "cache")
    assert sites_that_lose(plan(), measured=again, gain=gain) == first
    assert (again.measured, again.reused) == (0, 2)
    others = replace(plan(), config=SparsityConfig(dynamic_quantization=False))
    kept.clear()
    sites_that_lose(others, measured=again, gain=gain)
    assert again.measured == 2


def test_repeated_copies_have_weights_of_their_own_and_compute_what_one_does() -> None:
    """Copies that shared their weights would come from the cache, and measure nothing."""
    site = plan().sites[0]
    one = stock_model(site, 1)
    sparse = sparse_model(one, 0.5, SparsityConfig())
    core = ov.Core()
    register(core)
    x = np.random.default_rng(0).standard_normal((1, 1, site.in_features), np.float32)
    for model in (one, sparse):
        three = repeated(model, 3)
        addresses = [
            node.data.ctypes.data for node in three.get_ops() if node.get_type_name() == "Constant" and node.get_byte_size() > 1024
        ]
        assert (
            len(set(addresses))
            == len(addresses)
            == 3 * len([n for n in model.get_ops() if n.get_type_name() == "Constant" and n.get_byte_size() > 1024])
        )
        results = [core.compile_model(m, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0] for m in (model, three)]
        np.testing.assert_allclose(results[0], results[1], atol=1e-4)


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
