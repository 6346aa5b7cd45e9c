"""Rows with real weights: perplexity of decoders, cosine of embeddings, at 25, 40 and 50 %. Minutes each; run by `make coverage`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
from made_once import made_once
from minilm_embeddings import texts

import scap_ov
from scap_ov.backends.openvino import open_model
from scap_ov.cli.chat import ask
from scap_ov.models.dataset import text_dataset
from scap_ov.models.tokenizer import load_tokenizer
from scap_ov.sample_models.sample_text import documentation

pytestmark = pytest.mark.real
TABLE = "Real weights"
SPARSITIES = (0.25, 0.4, 0.5)
WINDOW, CALIBRATION_TOKENS, EVALUATION_TOKENS = 256, 3072, 2048
DECODERS = {
    "smollm2": "SmolLM2-135M-Instruct: perplexity",
    "gemma3": "Gemma 3 270M: perplexity",
}
ENCODER = "all-MiniLM-L6-v2: cosine with the dense embedding, mean (least)"


@pytest.fixture(scope="module")
def exported(older_transformers):
    """A function from name to the folder of its export, made once."""
    if importlib.util.find_spec("optimum") is None:
        pytest.skip("optimum-intel is not installed: the extra `export`, which `make coverage` installs")

    def folder(name: str) -> Path:
        def make(made: Path) -> None:
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
            if name == "gemma3":
                environment["PYTHONPATH"] = str(older_transformers)
            done = subprocess.run(
                [sys.executable, str(script), name, str(made)], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-2000:]

        script = Path(__file__).with_name("real_models.py")
        return made_once(f"real-{name}", [name, script], make)

    return folder


def noted(record_property, row: str, column: str, value: str) -> None:
    """A cell of docs/coverage.md."""
    record_property("figure", f"{TABLE}|{row}|{column}|{value}")


def column(sparsity: float) -> str:
    return f"{sparsity:.0%}".replace("%", " %")


@pytest.mark.parametrize("name", DECODERS)
def test_perplexity(name, exported, record_property):
    """Fitted to one half of a text, measured on the other, every row but the first of a window pruned, by the op."""
    folder, text = exported(name), documentation(60_000)
    middle = text.index("\n", len(text) // 2)
    encode = load_tokenizer(folder)
    data = text_dataset(text[:middle], encode, open_model(folder).model, seq_len=WINDOW, max_tokens=CALIBRATION_TOKENS)
    profile = scap_ov.calibrate(folder, data)
    perplexities = []
    for sparsity in SPARSITIES:
        config = scap_ov.SparsityConfig(target_sparsity=sparsity, rows="all", replace="always")
        sparse = scap_ov.apply(folder, profile, config)
        found = scap_ov.evaluate(sparse, folder, text[middle:], tokenizer=encode, window=WINDOW, max_tokens=EVALUATION_TOKENS)
        assert found.sparsity == pytest.approx(sparsity, abs=0.04)
        if not perplexities:
            perplexities.append(found.reference_perplexity)
            noted(record_property, DECODERS[name], "dense", f"{found.reference_perplexity:.1f}")
        perplexities.append(found.perplexity)
        noted(record_property, DECODERS[name], column(sparsity), f"{found.perplexity:.1f} ({found.sparsity:.1%})")
    assert perplexities == sorted(perplexities)
    assert perplexities[0] < 40  # a wrong tokenizer or wrong weights give hundreds
    assert perplexities[1] < 1.15 * perplexities[0]
    assert perplexities[-1] < 2 * perplexities[0]


@pytest.mark.parametrize("name", DECODERS)
def test_the_export_writes_sense(name, exported):
    """Through openvino-genai: the tokenizer that is made of the GGUF file's own tokens is right in both directions."""
    import openvino_genai as genai

    if name == "smollm2":
        assert "Paris" in ask(exported(name), ["What is the capital of France?"])[0].text
        return
    config = genai.GenerationConfig(max_new_tokens=24, do_sample=False, apply_chat_template=False)
    pipeline = genai.LLMPipeline(str(exported(name)), "CPU")
    written = pipeline.generate("Monday, Tuesday, Wednesday,", config)
    assert written.startswith(" Thursday, Friday, Saturday"), written


def test_embeddings(exported, record_property):
    """all-MiniLM-L6-v2 as optimum-cli exports it: mean of the token embeddings, of length one; all positions but [CLS] pruned."""
    folder = exported("minilm")
    calibration, sentences = texts()
    profile = scap_ov.calibrate(folder, nncf.Dataset(calibration))
    dense = embeddings(open_model(folder).model, sentences)
    noted(record_property, ENCODER, "dense", spread((embeddings(open_model(folder).model, sentences) * dense).sum(1)))
    means = []
    for sparsity in SPARSITIES:
        config = scap_ov.SparsityConfig(target_sparsity=sparsity, rows="all", replace="always")
        cosines = (embeddings(scap_ov.apply(folder, profile, config), sentences) * dense).sum(1)
        means.append(cosines.mean())
        noted(record_property, ENCODER, column(sparsity), spread(cosines))
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.99
    assert means[-1] > 0.93


def spread(cosines: np.ndarray) -> str:
    """Mean and least."""
    return f"{cosines.mean():.3f} ({cosines.min():.3f})"


def embeddings(model: ov.Model, samples: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Float64 [samples, H]."""
    core = ov.Core()
    scap_ov.register(core)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rows = np.array([compiled(sample)[0][0].mean(0) for sample in samples], np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
