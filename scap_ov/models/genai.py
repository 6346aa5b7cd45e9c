"""openvino-genai: its import, its pipelines on a model of any file name, and its errors in a sentence."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scap_ov.errors import BadModelError, UsageError, reason_of
from scap_ov.optional import optional
from scap_ov.storage.linked_folder import linked_folder
from scap_ov.storage.model_files import is_lowered_file, model_file

BACKENDS = ("PA", "SDPA")  # genai's names: paged attention is its default


def import_genai(purpose: str = "this needs") -> Any:
    """The module openvino_genai.

    :raises MissingDependencyError: it is not installed, or cannot be imported.
    """
    return optional("openvino_genai", purpose, "'scap_ov[genai]'")


@contextlib.contextmanager
def told(model: Path, what: str, cure: str) -> Iterator[None]:
    """Turn what openvino-genai raises in the block into one sentence.

    :raises BadModelError: it raised a RuntimeError, a ValueError or a TypeError.
    """
    try:
        yield
    except (RuntimeError, ValueError, TypeError) as e:
        if any(word in str(e).lower() for word in ("tokenizer", "stop_token_ids")):  # what it says of a folder without tokenizers
            cure = tokenizer_missing(model) or cure
        msg = f"openvino-genai cannot {what} {model} ({reason_of(e)}); {cure}"
        raise BadModelError(msg) from e


def tokenizer_missing(model: Path) -> str | None:
    """What to do where the model has no tokenizer that openvino-genai reads, or None where it has: it fails in many words without."""
    folder = model if model.is_dir() else model.parent
    if (folder / "openvino_tokenizer.xml").is_file():
        return None
    return f"it has no openvino_tokenizer.xml beside it: convert_tokenizer {folder} --with-detokenizer -o {folder}"


def open_pipeline(path: str | Path, backend: str = "PA", library: str | None = None, **properties: object) -> Any:
    """An openvino_genai.LLMPipeline of a model, with the extension library when one is given.

    In f32 then: the op computes in f32, and where a CPU's default is bf16 the plugin would put conversions around every op (ADR 0011).

    :param path: the model folder, or its .xml of whatever name.
    :raises MissingDependencyError: openvino-genai is not installed.
    :raises BadModelError: openvino-genai refuses the folder.
    """
    genai = import_genai()
    xml = openvino_file(path)
    if library:
        properties = {"INFERENCE_PRECISION_HINT": "f32", "extensions": [library], **properties}
    if backend == "SDPA":
        properties["ATTENTION_BACKEND"] = "SDPA"
    with linked_folder(xml) as folder, told(xml, "load", "is it a language model in a complete folder with tokenizers?"):
        return genai.LLMPipeline(str(folder), "CPU", **properties)


def generate_streamed(pipeline: Any, prompt: str, config: Any, write: Callable[[str], object]) -> Any:
    """`generate` that hands on its text piece by piece, and that Ctrl-C ends at the next token.

    It runs in a thread of its own: the main thread, the only one that Python tells of signals, would hear of none before the end.

    :param write: takes the pieces, in that thread; what it raises ends the text, and is raised again.
    :return: what `generate` returns for one prompt.
    """
    status = import_genai().StreamingStatus
    stopped = threading.Event()
    failed: list[Exception] = []

    def streamer(piece: str) -> Any:
        try:
            write(piece)
        except Exception as e:  # noqa: BLE001 - openvino-genai would print its traceback: raised below
            failed.append(e)
            stopped.set()
        return status.CANCEL if stopped.is_set() else status.RUNNING

    with ThreadPoolExecutor(1) as thread:
        try:
            result = thread.submit(pipeline.generate, [prompt], config, streamer).result()
        except BaseException:
            stopped.set()
            raise
    if failed:
        raise failed[0]
    return result


def openvino_file(path: str | Path) -> Path:
    """The .xml that a path means.

    :raises UsageError: it is an ONNX model.
    :raises BadModelError: there is no such model.
    """
    file = model_file(path)
    if file.suffix.lower() != ".xml":
        msg = f"openvino-genai runs OpenVINO models, and {file} is an ONNX file; convert it with ovc or optimum-cli, beside its tokenizer"
        raise UsageError(msg)
    return file


def library_for(path: str | Path) -> str | None:
    """Path of the extension library when the model needs it, else None."""
    if not is_lowered_file(openvino_file(path)):
        return None
    from scap_ov.custom_ops.library import extension_path

    return str(extension_path())
