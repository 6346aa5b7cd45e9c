"""WhisperPipeline of openvino-genai on a folder whose decoder is pruned: at level 0 it writes what the stock folder does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline_folders import PROPERTIES, SHAPE, exported, write_levels, write_tokenizers
from torch_weights import spread_out

import scap_ov

pytestmark = pytest.mark.slow  # torch
DECODER = "openvino_decoder_model.xml"
GENERATION = {"decoder_start_token_id": 3, "eos_token_id": 2, "pad_token_id": 1, "bos_token_id": 2, "no_timestamps_token_id": 100,
              "is_multilingual": False, "begin_suppress_tokens": [2], "suppress_tokens": [], "max_length": 20, "prev_sot_token_id": 4,
              "lang_to_id": {}, "task_to_id": {}}  # fmt: skip


def export_whisper(place: Path) -> None:
    """A small Whisper with random weights, and the folder with its decoder pruned."""
    import torch
    import transformers
    from optimum.exporters.openvino import export_from_model

    sizes = {f"{part}_{what}": value for part in ("encoder", "decoder")
             for what, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 96))}  # fmt: skip
    config = transformers.WhisperConfig(**sizes, vocab_size=SHAPE.vocabulary, d_model=64, max_target_positions=64, decoder_start_token_id=3,
                                        pad_token_id=1, bos_token_id=2, eos_token_id=2)  # fmt: skip
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    spread_out(model)
    stock = place / "stock"
    export_from_model(model, output=stock, task="automatic-speech-recognition-with-past", stateful=True)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(stock)
    write_tokenizers(stock)
    (stock / "generation_config.json").write_text(json.dumps(GENERATION))
    write_levels(place, DECODER)


@pytest.fixture(scope="module")
def folders() -> Path:
    return exported("whisper", __file__, export_whisper)


def test_whisper_pipeline(folders) -> None:
    assert {path.name for path in (folders / "levels").iterdir()} == {path.name for path in (folders / "stock").iterdir()} | {
        "scap_config.json"
    }
    audio = np.random.default_rng(0).standard_normal(16_000).astype(np.float32).tolist()

    def text(pipeline) -> str:
        return pipeline.generate(audio, max_new_tokens=8, ignore_eos=True).texts[0]

    stock = text(scap_ov.open_pipeline(folders / "stock", **PROPERTIES))
    sparse = scap_ov.open_pipeline(folders / "levels", level=0, **PROPERTIES)
    assert len(stock.split()) == 8
    assert text(sparse) == stock
    scap_ov.set_level(0.5, "levels")
    assert text(sparse) != stock
