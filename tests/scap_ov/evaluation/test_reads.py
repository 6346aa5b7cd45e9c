"""What eval says of a graded model is what its thresholds do: shares of channels, of bytes, and bytes per token."""

from dataclasses import replace

import numpy as np
import pytest
from small_llm import TEXT, letters, small_llm

import scap_ov
from scap_ov.calibration.observe import observe
from scap_ov.evaluation.reads import Reads
from scap_ov.models.dataset import text_dataset
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec

CONFIG = scap_ov.SparsityConfig(method="graded", replace="always")


@pytest.fixture(scope="module")
def model():
    return small_llm("i8")


@pytest.fixture(scope="module")
def plan(model):
    return scap_ov.fit(observe(model, text_dataset(TEXT, letters, model, seq_len=64, max_tokens=640)), CONFIG)


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_measured_shares_are_the_planned_ones(model, plan, rows):
    made = scap_ov.apply(model, replace(plan, config=replace(CONFIG, rows=rows)), form="portable")
    found = scap_ov.evaluate(made, model, [np.array(letters(TEXT[:300]))])
    assert found.sparsity == pytest.approx(0.5, abs=0.03)
    assert found.dropped + found.half / 2 == pytest.approx(found.sparsity)
    assert found.dropped + found.half + found.whole == pytest.approx(1)
    assert found.half > 0.3
    for site in found.sites:
        assert site.sparsity == pytest.approx(site.dropped + site.half / 2)
    assert found.kl_divergence > 0
    sites = [s for s in plan.sites if s.kind is not SiteKind.LM_HEAD]
    skipped = found.sparsity * sum(s.weight_bytes for s in sites)
    assert found.reference_weight_bytes_per_token - found.weight_bytes_per_token == pytest.approx(skipped, rel=0.1)


def test_nothing_dropped_and_nothing_by_half_is_the_stock_model(model, plan):
    never = np.array([-1], np.float32)
    entries = {n: replace(e, threshold=never, whole_threshold=never) for n, e in plan.entries.items()}
    found = scap_ov.evaluate(scap_ov.apply(model, replace(plan, entries=entries), form="portable"), model, [np.array(letters(TEXT[:100]))])
    assert (found.sparsity, found.dropped, found.half, found.whole) == (0, 0, 0, 1)
    assert found.kl_divergence == pytest.approx(0, abs=1e-6)


def test_bytes_weigh_by_bytes_and_channels_by_count():
    def site(name, dtype):
        return Site(name, SiteKind.O, 0, (Layer(name, 8, 4, WeightSpec(dtype, 8, "f16")),))

    reads = Reads([site("a", "u8"), site("b", "u4")], ["a", "b"], np.array([[0.2, 0.2], [0.6, 0.6]]), np.array([[0.4, 0.4], [0.0, 0.0]]))
    np.testing.assert_allclose(reads.unread(), (2 * 0.4 + 0.6) / 3)
    assert reads.channels() == pytest.approx((0.4, 0.2, 0.4))
    assert reads.unread_of() == pytest.approx({"a": 0.4, "b": 0.6})
