"""Sensitivity of sites that can be read by half."""

import numpy as np
import pytest
from small_llm import TEXT, letters, small_llm

import scap_ov
from scap_ov.calibration.observe import observe
from scap_ov.calibration.sensitivity import measure_sensitivity
from scap_ov.models.dataset import text_dataset


@pytest.mark.parametrize("gradients", [True, False])
def test_half_reads_are_priced_with_and_without_gradients(gradients):
    model = small_llm("i8")
    data = text_dataset(TEXT, letters, model, seq_len=64, max_tokens=256)
    profile = measure_sensitivity(model, data, observe(model, data), tokens=128, gradients=gradients)
    for site in profile.sites:
        table = profile.sensitivity[site.name]
        half, drop = (np.interp(0.5, table[f"{what}level"], table[f"{what}loss"]) for what in ("graded_", ""))
        assert 0 < half < drop / 2, "half of the bytes cost less than half of the channels"
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig())
    assert plan.notes["allocation"] == "sensitivity"
    assert plan.expected_sparsity() == pytest.approx(0.5, abs=0.02)
