"""Compensation is learned for plans that read channels by half too: the ratio of their thresholds holds, and so do the bytes."""

import numpy as np
import pytest
from small_llm import TEXT, letters, small_llm

import scap_ov
from scap_ov.api import apply_with_plan
from scap_ov.config import SparsityConfig
from scap_ov.models.dataset import text_dataset
from scap_ov.sites import SiteKind


@pytest.fixture(scope="module")
def model():
    return small_llm("i8")


@pytest.fixture(scope="module")
def data(model):
    return text_dataset(TEXT, letters, model, seq_len=40, max_tokens=320)


@pytest.fixture(scope="module")
def profile(model, data):
    return scap_ov.calibrate(model, data)


def test_graded_plans_learn_constants_and_keep_their_bytes(model, data, profile):
    config = SparsityConfig(target_sparsity=0.7, rows="all", replace="always", compensation=True, lm_head=False)
    sparse, plan = apply_with_plan(model, profile, config, data=data)
    told = plan.notes["compensation"]
    assert told["kept"]
    assert told["held_out_loss_after"] < told["held_out_loss_before"]
    assert told["held_out_sparsity_after"] == pytest.approx(told["held_out_sparsity_before"], abs=0.003)
    fitted = scap_ov.fit(profile, SparsityConfig(target_sparsity=0.7, rows="all", replace="always", lm_head=False))
    assert {s.name for s in plan.sites if s.kind is not SiteKind.LM_HEAD} == plan.entries.keys()
    for name, entry in plan.entries.items():
        assert np.abs(entry.compensation).max() > 0
        before = fitted.entries[name]
        np.testing.assert_allclose(entry.whole_threshold / entry.threshold, before.whole_threshold / before.threshold, rtol=1e-6)
        np.testing.assert_array_equal(entry.center, before.center)
    ids = [letters(TEXT)[:40]]
    found = scap_ov.evaluate(sparse, model, ids)
    assert found.sparsity == pytest.approx(told["held_out_sparsity_after"], abs=0.05)
    portable = scap_ov.evaluate(scap_ov.apply(model, plan, form="portable"), model, ids)
    assert portable.kl_divergence == pytest.approx(found.kl_divergence, rel=0.05)  # int8 activations against f32
