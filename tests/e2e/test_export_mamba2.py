"""Mamba 2 through the exporter in examples/: it computes what transformers does at any length, and its projections are pruned."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from decode_steps import run_steps

import scap_ov
from scap_ov.models.dataset import token_dataset
from scap_ov.passes.openvino.find_sites import find_sites

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # torch, transformers and a conversion: 15 s
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module")
def pair():
    spec = importlib.util.spec_from_file_location("export_mamba2", Path(__file__).parents[2] / "examples" / "export_mamba2.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    config = transformers.Mamba2Config(
        hidden_size=64, num_hidden_layers=2, vocab_size=256, state_size=16, num_heads=8, head_dim=16, n_groups=2, chunk_size=8
    )
    original = transformers.Mamba2ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.mul_(1.5)  # so that logits differ
    return original, module.export(original)


def logits(model, ids):
    core = ov.Core()
    scap_ov.register(core)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "beam_idx": np.arange(len(ids), dtype=np.int32)}
    return core.compile_model(model, "CPU", EXACT)(inputs)[0]


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (3, 40)])
def test_any_length_gives_what_transformers_gives(pair, shape):
    original, exported = pair
    ids = np.random.default_rng(shape[1]).integers(0, 256, shape)
    expected = original(input_ids=torch.tensor(ids), use_cache=False).logits.detach().numpy()
    np.testing.assert_allclose(logits(exported, ids), expected, atol=1e-4 * np.abs(expected).max())


def test_steps_from_the_state_give_what_the_whole_text_gives(pair):
    ids = np.random.default_rng(1).integers(0, 256, (1, 12))
    expected = logits(pair[1], ids)[0]
    steps = run_steps(ov.Core().compile_model(pair[1], "CPU", EXACT), ids)
    np.testing.assert_allclose(steps, expected, atol=1e-4 * np.abs(expected).max())


def test_padding_on_the_left_changes_nothing(pair):
    ids = np.random.default_rng(2).integers(0, 256, (2, 9))
    mask = np.ones_like(ids)
    mask[1, :4] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "beam_idx": np.arange(2, dtype=np.int32)}
    padded = ov.Core().compile_model(pair[1], "CPU", EXACT)(inputs)[0][1, 4:]
    alone = logits(pair[1], ids[1:, 4:])[0]
    np.testing.assert_allclose(padded, alone, atol=1e-4 * np.abs(alone).max())


def test_projections_are_sites_exact_at_nothing_dropped_and_alike_in_both_forms(pair):
    exported = pair[1]
    found = find_sites(exported)
    assert [match.site.name for match in found.matches] == [f"block.{b}.{kind}" for b in (0, 1) for kind in ("up", "down")]
    ids = np.random.default_rng(0).integers(0, 256, (4, 24))
    data = token_dataset(ids.tolist(), exported)
    stock = logits(exported, ids[:1])
    for sparsity, least in ((0.0, 0.0), (0.5, 1e-3)):
        config = scap_ov.SparsityConfig(target_sparsity=sparsity, rows="all", replace="always")
        lowered, portable = (logits(scap_ov.apply(exported, data, config, form=form), ids[:1]) for form in ("lowered", "portable"))
        np.testing.assert_allclose(lowered, portable, atol=1e-4 * np.abs(stock).max())
        assert np.abs(lowered - stock).max() >= least * np.abs(stock).max()
        if not sparsity:
            np.testing.assert_allclose(lowered, stock, atol=1e-4 * np.abs(stock).max())
