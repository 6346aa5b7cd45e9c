"""VLMPipeline of openvino-genai on a folder whose language model is pruned: at level 0 it writes what the stock folder does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from pipeline_folders import PROPERTIES, SHAPE, exported, write_levels, write_tokenizers
from torch_weights import spread_out

import scap_ov

pytestmark = pytest.mark.slow  # torch
LANGUAGE_MODEL = "openvino_language_model.xml"
IMAGE = "<image>"
SIZE = 28  # of an image, in four patches


def export_llava(place: Path) -> None:
    """A small LLaVA with random weights, and the folder with its language model pruned."""
    import torch
    import transformers
    from optimum.exporters.openvino import export_from_model

    vision = transformers.CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                                           image_size=SIZE, patch_size=SIZE // 2, projection_dim=32)  # fmt: skip
    text = transformers.LlamaConfig(
        vocab_size=SHAPE.vocabulary, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=2, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_id=SHAPE.vocabulary - 1, image_seq_length=4)
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(config).eval()
    spread_out(model)
    stock = place / "stock"
    export_from_model(model, output=stock, task="image-text-to-text", stateful=True)
    square = {"height": SIZE, "width": SIZE}
    transformers.CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=square).save_pretrained(stock)
    write_tokenizers(stock, IMAGE)
    (stock / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "pad_token_id": 1, "bos_token_id": 2}))
    write_levels(place, LANGUAGE_MODEL)


@pytest.fixture(scope="module")
def folders() -> Path:
    return exported("llava", __file__, export_llava)


def test_vlm_pipeline(folders: Path) -> None:
    images = [ov.Tensor(np.random.default_rng(seed).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)) for seed in (0, 1)]

    def text(pipeline: object, image: ov.Tensor) -> str:
        return pipeline.generate("w5 w17 w9 w33", images=[image], max_new_tokens=10).texts[0]

    with_stock = scap_ov.open_pipeline(folders / "stock", **PROPERTIES)
    stock = [text(with_stock, image) for image in images]
    assert stock[0] != stock[1], "the image says nothing"
    with_levels = scap_ov.open_pipeline(folders / "levels", level=0, **PROPERTIES)
    assert [text(with_levels, image) for image in images] == stock
    scap_ov.set_level(0.5, "levels")
    assert [text(with_levels, image) for image in images] != stock
