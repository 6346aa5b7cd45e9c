"""all-MiniLM-L6-v2 as ONNX: calibrated, pruned and run in onnxruntime, and the same file in OpenVINO on the op."""

from __future__ import annotations

import numpy as np
import pytest
from minilm_embeddings import calibrated, measure, model_folder, texts

from scap_ov.backends import onnx as backend
from scap_ov.config import SparsityConfig
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.sample_models.onnx_encoder import encoder
from scap_ov.sample_models.wordpiece import wordpiece

SAMPLES = 24


@pytest.fixture(scope="module")
def stock():
    return encoder(model_folder())


@pytest.fixture(scope="module")
def profile(stock):
    return calibrated(stock, SAMPLES // 2)


def test_the_tokenizer_is_berts():
    encode = wordpiece(model_folder() / "vocab.txt")
    assert encode("Hello, world! Embeddings") == [101, 7592, 1010, 2088, 999, 7861, 8270, 4667, 2015, 102]


def test_the_graph_is_the_model(stock):
    """Sentences of one meaning lie closer than others, as the model was trained for."""
    encode = wordpiece(model_folder() / "vocab.txt")
    session = OnnxSession(backend.open_model(stock).model)
    sentences = "A man is eating food.", "Someone has a meal.", "The stock market fell sharply."
    rows = []
    for sentence in sentences:
        ids = np.array([encode(sentence)])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        rows.append(session.run(inputs)["sentence_embedding"][0])
    alike, unlike = float(rows[0] @ rows[1]), float(rows[0] @ rows[2])
    assert alike > 0.6
    assert unlike < 0.2


def test_all_blocks_are_found(stock):
    sites, skipped = backend.find(backend.open_model(stock), SparsityConfig())
    assert skipped == ()
    assert [site.name for site in sites] == [f"block.{i}.{kind}" for i in range(6) for kind in ("qkv", "o", "up", "down")]


def test_pruned_embeddings_stay_and_runtimes_agree(stock, profile):
    """Rounding decides for an entry that lies at its threshold, so a few sentences differ a little between runtimes: docs/onnx.md."""
    assert len(texts()[0]) >= SAMPLES
    low, high = measure(stock, [0.3, 0.5], samples=SAMPLES, profile=profile, say=lambda _: None)
    assert low.cosine > 0.99
    assert low.cosine > high.cosine > 0.93
    for row in (low, high):
        # cosine above 0.9999; which of the 24 sentences have an entry at its threshold is up to the CPU: 4 at most so far
        assert row.share_close >= 0.75
        assert row.runtimes > 0.999
        assert row.least_runtimes > 0.98


def test_with_a_ramp_the_runtimes_agree_on_every_sentence(stock, profile):
    for row in measure(stock, [0.3, 0.5], ramp=0.2, samples=SAMPLES, profile=profile, say=lambda _: None):
        assert row.least_runtimes > 0.99999
        assert row.share_close == 1
