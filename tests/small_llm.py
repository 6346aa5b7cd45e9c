"""A small Llama with random weights, its folder, and a tokenizer of letters. Imported by tests."""

from __future__ import annotations

from pathlib import Path

import openvino as ov

from scap_ov.sample_models.random_llm import Shape, build
from scap_ov.storage.model_folder import write_model_folder

SHAPE = Shape("small", layers=2, hidden=64, ffn=128, heads=4, kv_heads=2, vocabulary=128)
TEXT = "A dog ran over the hill. It saw a cat, and the cat saw it; neither of them knew what to do next! " * 40


def small_llm(weights: str = "i4_g32") -> ov.Model:
    return build(SHAPE, weights, SHAPE.layers)


def letters(text: str) -> list[int]:
    return [ord(c) % 128 for c in text]


def small_folder(folder: Path, weights: str = "i4_g32") -> Path:
    write_model_folder(small_llm(weights), None, folder)
    (folder / "config.json").write_text("{}")
    return folder
