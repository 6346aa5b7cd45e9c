"""How many rows a site prunes is measured, kept, noted in the plan, and what the ops then do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from scap_ov.benchmarking.measured import Measurements
from scap_ov.benchmarking.row_gain import measure_row_gain, rows_that_pay
from scap_ov.benchmarking.site_models import stock_model
from scap_ov.config import SparsityConfig
from scap_ov.custom_ops import OP_NAME
from scap_ov.models.opened import OpenedModel
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.plan import SPARSE_ROWS, SitePlan, SparsityPlan
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec

INT4 = WeightSpec("i4", 32, "f16")
SMALL, LARGE = ((Layer(f"of.{n}", 512, n, INT4),) for n in (640, 4096))
SITES = (
    Site("a", SiteKind.O, 0, SMALL),
    Site("b", SiteKind.O, 1, SMALL),
    Site("c", SiteKind.UP, 0, LARGE),
    Site("d", SiteKind.UP, 1, LARGE),
)


def plan(**settings: object) -> SparsityPlan:
    nothing = np.zeros(1, np.float32)
    entries = {name: SitePlan(name, nothing, nothing, share) for name, share in (("a", 0.4), ("b", 0.62), ("c", 0.5))}
    return SparsityPlan(SparsityConfig(**settings), "f", SITES, entries)


def gain_up_to(most: dict[int, int], asked: list[tuple[int, int, float]] | None = None):
    """Pruning wins up to so many rows, by output channels."""

    def gain(site: Site, rows: int, sparsity: float, config: SparsityConfig) -> float:
        if asked is not None:
            asked.append((site.out_features, rows, sparsity))
        return 1.5 if rows <= most[site.out_features] else 0.9

    return gain


def test_rows_from_the_limit_down_once_for_each_shape_at_the_median_sparsity() -> None:
    asked: list[tuple[int, int, float]] = []
    rows = rows_that_pay(plan(), {}, gain=gain_up_to({640: 2, 4096: 9}, asked))
    assert rows == {"a": 2, "b": 2, "c": 4}
    assert asked == [(640, 4, 0.5), (640, 3, 0.5), (640, 2, 0.5), (4096, 4, 0.5)]


@pytest.mark.parametrize(("limit", "wins", "expected"), [(16, 11, 11), (16, 40, 16), (16, 1, 1), (2, 1, 1), (64, 63, 63)])
def test_the_limit_is_the_configuration(limit: int, wins: int, expected: int) -> None:
    rows = rows_that_pay(plan(max_sparse_rows=limit), {"a": "slower", "b": "slower"}, gain=gain_up_to({4096: wins}))
    assert rows == {"c": expected}


@pytest.mark.parametrize("limit", [4, 6, 8, 12, 16, 24])
def test_a_larger_limit_never_gives_fewer_rows(limit: int) -> None:
    """Where dense rows are fast at three, slow from four on and fast again from nine: as paths of the op change over rows."""

    def gain(_site: Site, rows: int, _sparsity: float, _config: SparsityConfig) -> float:
        return 1.2 if 4 <= rows < 9 else 0.9

    assert set(rows_that_pay(plan(max_sparse_rows=limit), {}, gain=gain).values()) == {min(limit, 8)}


def test_nothing_is_measured_where_there_is_nothing_to_choose() -> None:
    small = replace(plan(), sites=tuple(replace(site, layers=(Layer("small", 64, 64, INT4),)) for site in SITES))
    assert rows_that_pay(small, {}, gain=lambda *_: pytest.fail("measured")) == {}
    for settings in ({"rows": "all"}, {"max_sparse_rows": 1}):
        assert rows_that_pay(plan(**settings), {}, gain=lambda *_: pytest.fail("measured")) == {}


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    first = rows_that_pay(plan(), {}, measured=Measurements(tmp_path / "kept"), gain=gain_up_to({640: 2, 4096: 3}))
    again = Measurements(tmp_path / "kept")
    assert rows_that_pay(plan(), {}, measured=again, gain=lambda *_: pytest.fail("measured")) == first
    assert (again.measured, again.reused) == (0, 5)


def test_the_plan_keeps_the_choice_and_no_note_goes_beyond_the_configuration(tmp_path: Path) -> None:
    noted = replace(plan(), notes={SPARSE_ROWS: {"a": 2, "b": 7, "c": "x"}})
    noted.save(tmp_path / "plan.safetensors")
    kept = SparsityPlan.load(tmp_path / "plan.safetensors")
    assert [kept.rows_of(name) for name in "abcd"] == [2, 4, 4, 4]


def test_each_op_prunes_as_many_rows_as_its_site_was_given() -> None:
    model = stock_model(replace(SITES[0], name="x"), 2)
    opened = OpenedModel(model)
    clone, found = opened.copy()
    sites = tuple(match.site for match in found.matches)
    entries = {site.name: SitePlan(site.name, np.full(1, 0.5, np.float32), np.zeros(1, np.float32), 0.4) for site in sites}
    noted = SparsityPlan(SparsityConfig(), "", sites, entries, {SPARSE_ROWS: {sites[0].name: 2}})
    lowered = LowerSparseMatMul()(InsertSparsity(noted, found=found)(clone).model).model
    given = [node.get_attributes()["max_sparse_rows"] for node in ops_of(lowered)]
    assert sorted(int(rows) for rows in given) == [2, 4]


def ops_of(model: ov.Model) -> list[ov.Node]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == OP_NAME]


def test_the_measurement_runs() -> None:
    assert measure_row_gain(SITES[0], 2, 0.5, SparsityConfig()) > 0
