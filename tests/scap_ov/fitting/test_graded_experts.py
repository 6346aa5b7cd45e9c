"""Routed experts of 8-bit weights from calibration to figures: read by grades, counted over the experts that a token uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_llm import SHAPE, TEXT, letters

import scap_ov
from scap_ov.cli.routed import tokens_per_expert
from scap_ov.evaluation.extract_plan import take_apart
from scap_ov.models.dataset import text_dataset
from scap_ov.sample_models.random_llm import build
from scap_ov.storage.rt_info import read_record

EXPERTS = replace(SHAPE, ffn=64, experts=4, used=2)
KINDS = ("expert_up", "expert_down")


@pytest.fixture(scope="module")
def model():
    return build(EXPERTS, "i8", 2)


@pytest.fixture(scope="module")
def profile(model):
    return scap_ov.calibrate(model, text_dataset(TEXT, letters, model, seq_len=48, max_tokens=96))


@pytest.fixture(scope="module")
def plan(profile):
    return scap_ov.fit(profile, scap_ov.SparsityConfig(target_sparsity=0.5, replace="always", dynamic_quantization=False))


def test_two_thresholds_are_fitted_and_the_bytes_are_those_asked_for(plan):
    assert plan.config.method == "graded"
    assert plan.notes["allocation"] == "sensitivity"
    assert plan.expected_sparsity() == pytest.approx(0.5, abs=0.01)
    for site in plan.sites:
        if site.kind.value in KINDS:
            entry = plan.entries[site.name]
            assert 0 < entry.threshold[0] < entry.whole_threshold[0]
            reads = entry.expected_reads()
            assert entry.expected_sparsity == pytest.approx(reads["dropped"] + reads["half"] / 2)


def test_the_loss_by_grades_is_measured_and_smaller(profile):
    for site in profile.sites:
        if site.kind.value in KINDS:
            table = profile.sensitivity[site.name]
            at = list(table["level"]).index(0.5), list(table["graded_level"]).index(0.5)
            assert table["graded_loss"][at[1]] < table["loss"][at[0]]


@pytest.mark.parametrize("form", ["lowered", "portable"])
def test_what_is_applied_is_evaluated(model, plan, form):
    sparse = scap_ov.apply(model, plan, form=form)
    summary = read_record(sparse)["summary"]
    for site in summary["sites"]:
        if site["kind"] in KINDS:
            assert site["state"] == form
            assert site["half"] == pytest.approx(plan.entries[site["name"]].expected_half)
    again, stock = take_apart(sparse)
    for name, entry in plan.entries.items():
        np.testing.assert_array_equal(again.entries[name].whole_threshold, entry.whole_threshold)
        assert again.entries[name].expected_reads() == pytest.approx(entry.expected_reads())
    windows = [letters(TEXT[start : start + 40]) for start in (0, 500)]
    result = scap_ov.evaluate(sparse, model, windows)
    measured = {site.name: site for site in result.sites}
    for name in (site.name for site in plan.sites if site.kind.value in KINDS):
        assert measured[name].half == pytest.approx(plan.entries[name].expected_half, abs=0.12)
    assert sum(node.get_type_name() == "SparseExperts" for node in stock.get_ops()) == 0


def test_fewer_experts_cost_about_what_calibration_expects(model, profile):
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig(target_sparsity=0, fewer_experts=0.5, replace="always"))
    assert {site.experts_per_token for site in plan.sites if site.experts} == {1}
    sparse = scap_ov.apply(model, plan)
    shown = {site["name"]: site.get("experts_per_token") for site in read_record(sparse)["summary"]["sites"]}
    assert {shown[name] for name in plan.experts} == {1}
    windows = [letters(TEXT[start : start + 60]) for start in (0, 500, 900)]
    result = scap_ov.evaluate(sparse, model, windows)
    assert result.kl_divergence == pytest.approx(plan.notes["fewer_experts"]["expected_loss"], rel=0.6)
    lines = list(tokens_per_expert(read_record(sparse)["summary"]))
    assert "block.0.expert_up: a token uses 1 of the 2 experts that the router was made for" in lines
