"""SmolLM2-135M-Instruct as model folders, made once: by the light road, and as optimum-cli exports it. Cut to its first blocks where a
test is about something other than what the model says: these are several times as fast, and write nonsense."""

from __future__ import annotations

from pathlib import Path

from cut_gguf import cut_gguf
from made_once import made_once

from scap_ov.sample_models import gguf_to_hf, sentencepiece_bpe, source

SOURCES = tuple(Path(module.__file__) for module in (source, gguf_to_hf, sentencepiece_bpe))
CUT = Path(__file__).with_name("cut_gguf.py")
BLOCKS = 4  # of 30


def gguf(blocks: int | None = None) -> Path:
    """The GGUF file, whole or cut; a cut one lies in a folder that can be imported in the place of the package of the whole one."""
    whole = source.find_gguf()
    if blocks is None:
        return whole

    def make(folder: Path) -> None:
        (folder / source.PACKAGE).mkdir()
        (folder / source.PACKAGE / "__init__.py").touch()
        cut_gguf(whole, folder / source.PACKAGE / whole.name, blocks)

    return made_once("gguf", [CUT, whole.name, blocks], make) / source.PACKAGE / whole.name


def light_road(blocks: int | None = None) -> Path:
    """What openvino-genai makes of the GGUF file."""
    file = gguf(blocks)
    return made_once("light", [*SOURCES, CUT, file.name, blocks], lambda folder: source.stock_model("genai", folder, print, file))


def exported_by_optimum(weight_format: str, blocks: int | None = None) -> Path:
    """What optimum-cli makes of it.

    :param weight_format: `fp16`, `int8` or `int4`.
    """

    def make(folder: Path) -> None:
        hf = made_once("hf", [*SOURCES, CUT, file.name, blocks], lambda hf: source.write_hf(file, hf, print))
        source.export(hf, folder, weight_format, print)

    file = gguf(blocks)
    return made_once(weight_format, [*SOURCES, CUT, file.name, weight_format, blocks], make)
