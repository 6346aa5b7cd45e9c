"""What the methods are for, on a real model: less loss than uniform thresholds, and the sparsity that was asked for."""

import numpy as np
import pytest
from measured_plan import loss_and_sparsity
from smollm2 import BLOCKS, light_road

import scap_ov
from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.calibration.samples import pick_windows
from scap_ov.models.dataset import text_dataset
from scap_ov.sample_models.sample_text import documentation
from scap_ov.storage.model_folder import read_model

EVERYTHING = 1 << 30


@pytest.fixture(scope="module", params=[pytest.param(2 * BLOCKS, marks=pytest.mark.slow), pytest.param(None, marks=pytest.mark.real)])
def folder(request):
    return light_road(request.param)


@pytest.fixture(scope="module")
def halves(folder):
    """The text, its windows in turn for calibration and for measuring."""
    text = documentation(16_000)
    middle = text.index("\n", len(text) // 2)
    model = read_model(folder)
    return [text_dataset(part, folder, model, seq_len=256, max_tokens=2048) for part in (text[:middle], text[middle:])]


@pytest.fixture(scope="module")
def profile(folder, halves):
    return scap_ov.calibrate(folder, halves[0])


def test_adaptive_loses_less_than_uniform_thresholds_at_no_less_sparsity(folder, halves, profile):
    probe = ProbeModel(read_model(folder), measure=True)
    pieces = pick_windows(probe, halves[1], EVERYTHING)
    (ours, ours_sparsity), (uniform, uniform_sparsity) = (
        loss_and_sparsity(probe, pieces, scap_ov.fit(profile, scap_ov.SparsityConfig(method=method))) for method in ("adaptive", "scap")
    )
    # a point of sparsity is worth 8 % of the loss; so much may the uniform plan gain by dropping less
    assert ours < 0.8 * uniform * np.exp(8 * (ours_sparsity - uniform_sparsity))
    assert ours_sparsity == pytest.approx(0.5, abs=0.02)
    assert all(len(profile.sensitivity[s.name]["level"]) > 1 for s in profile.sites if s.kind.value != "lm_head"), "by gradients"
