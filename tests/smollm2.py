"""SmolLM2-135M-Instruct as model folders, made once: by the light road, and as optimum-cli exports it."""

from __future__ import annotations

from pathlib import Path

from made_once import made_once

from scap_ov.sample_models import gguf_to_hf, sentencepiece_bpe, source

SOURCES = tuple(Path(module.__file__) for module in (source, gguf_to_hf, sentencepiece_bpe))


def light_road() -> Path:
    """What openvino-genai makes of the GGUF file."""
    return made_once("light", [*SOURCES, source.find_gguf().name], lambda folder: source.stock_model("genai", folder, print))


def exported_by_optimum(weight_format: str) -> Path:
    """What optimum-cli makes of it.

    :param weight_format: `fp16`, `int8` or `int4`.
    """

    def make(folder: Path) -> None:
        hf = made_once("hf", [*SOURCES, gguf.name], lambda hf: source.write_hf(gguf, hf, print))
        source.export(hf, folder, weight_format, print)

    gguf = source.find_gguf()
    return made_once(weight_format, [*SOURCES, gguf.name, weight_format], make)
