"""openvino-genai pipelines on folders that hold pruned models: every kind of pipeline, and drafts for speculative decoding.

genai's `extensions=` reaches LLMPipeline, VLMPipeline, WhisperPipeline and ContinuousBatchingPipeline; `draft_model` and the pipelines for
embeddings and reranking ignore it. All of them read models with one Core, though: what one pipeline has added, the others know.
docs/pipelines.md lists what works.
"""

from __future__ import annotations

import contextlib
import html
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from scap_ov import dial
from scap_ov.arguments import check_path
from scap_ov.custom_ops.library import extension_path
from scap_ov.errors import BadModelError, ExtensionError, UsageError, reason_of
from scap_ov.models.genai import import_genai, told
from scap_ov.storage.model_files import MODEL_FILE, is_lowered_file, level_name

KINDS = {"llm": "LLMPipeline", "continuous_batching": "ContinuousBatchingPipeline", "vlm": "VLMPipeline", "whisper": "WhisperPipeline",
         "embedding": "TextEmbeddingPipeline", "rerank": "TextRerankPipeline"}  # fmt: skip
_MARKS = {"vlm": "openvino_language_model.xml", "whisper": "openvino_encoder_model.xml", "llm": MODEL_FILE}  # file -> kind, first wins
_F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # the op computes in f32 (ADR 0011)
_NAME = re.compile(r'level_model="[^"]*"')


def register_genai() -> None:
    """Make openvino-genai know our ops in every pipeline and draft that this process opens from now on; doing so twice does no harm.

    :raises MissingDependencyError: openvino-genai is not installed.
    :raises ExtensionError: the extension library is missing, or openvino-genai does not take it.
    """
    _register(extension_path())


@cache
def _register(library: Path) -> None:
    genai = import_genai("pipelines need")
    # genai has no function for it. A pipeline adds its extensions before it looks for a model, so a folder without one will do.
    with tempfile.TemporaryDirectory(prefix="scap_ov.") as folder:
        try:
            genai.LLMPipeline(folder, "CPU", extensions=[str(library)])
        except RuntimeError as e:
            if "Could not find a model" not in str(e):
                msg = f"openvino-genai does not take the extension library ({reason_of(e)}); run `scap-ov doctor`"
                raise ExtensionError(msg) from e


def open_pipeline(
    folder: str | Path,
    kind: str | None = None,
    device: str = "CPU",
    *,
    level: float | None = None,
    draft: str | Path | None = None,
    draft_level: float | None = None,
    **properties: object,
) -> Any:
    """Open a pipeline of openvino-genai on a model folder, stock or pruned, with all that a pruned one needs.

    Where the folder holds a model of ours, INFERENCE_PRECISION_HINT is f32 unless `properties` say otherwise.

    :param folder: the model folder.
    :param kind: llm, continuous_batching, vlm, whisper, embedding or rerank; None tells llm, vlm and whisper from the folder's files.
    :param device: of openvino-genai; our ops run on the CPU.
    :param level: of a folder with levels, the one to start with.
    :param draft: folder of a model that drafts tokens for speculative decoding; the text is then that of `folder`'s model alone.
    :param draft_level: the level of the draft; without `draft` the folder drafts for itself at this level, from the same weights in memory.
        Its name for `set_level` is then the folder's with `.draft` behind it.
    :param properties: passed on to openvino-genai: scheduler_config, prompt_lookup, ATTENTION_BACKEND, CACHE_DIR and what plugins take.
    :return: an openvino_genai pipeline of that kind.
    :raises UsageError: the kind is unknown or cannot be told, or the model has no such level.
    :raises BadModelError: openvino-genai refuses the folder.
    :raises MissingDependencyError: openvino-genai is not installed.
    """
    path = check_path("folder", folder, "a model folder with tokenizers")
    if draft is not None:
        check_path("draft", draft, "the folder of the model that drafts")
    kind = _kind(path) if kind is None else kind
    if not isinstance(kind, str) or kind not in KINDS:
        msg = f"kind is {kind!r}; give one of {', '.join(KINDS)}"
        raise UsageError(msg)
    if (draft is not None or draft_level is not None) and kind not in ("llm", "continuous_batching"):
        msg = f"a draft goes with kind llm or continuous_batching, not {kind}; leave draft and draft_level out"
        raise UsageError(msg)
    if level is not None:
        _level_name(path)
    ours = _lowered(path)
    if ours or (draft is not None and _lowered(Path(draft))):
        register_genai()
    genai = import_genai("pipelines need")
    words = (_F32 if ours else {}) | properties
    with contextlib.ExitStack() as stack:
        if draft is not None or draft_level is not None:
            words["draft_model"] = stack.enter_context(_draft(path, draft, device))
        stack.enter_context(told(path, "load", f"is it complete, and a model for {KINDS[kind]}?"))
        if kind == "continuous_batching":
            scheduler = words.pop("scheduler_config", None) or genai.SchedulerConfig()
            pipeline = genai.ContinuousBatchingPipeline(str(path), scheduler, device, words)
        else:
            pipeline = getattr(genai, KINDS[kind])(str(path), device, **words)
    if level is not None:
        dial.set_level(level, _level_name(path))
    if draft_level is not None:
        dial.set_level(draft_level, _draft_name(path) if draft is None else _level_name(Path(draft)))
    return pipeline


def _kind(folder: Path) -> str:
    if not folder.is_dir():
        msg = f"there is no folder {folder}; give a model folder with tokenizers"
        raise BadModelError(msg)
    for kind, mark in _MARKS.items():
        if (folder / mark).is_file():
            return kind
    msg = f"what {folder} is for cannot be told from its files; give kind, one of {', '.join(KINDS)}"
    raise UsageError(msg)


def _lowered(folder: Path) -> bool:
    """Whether a model of the folder holds an op of ours."""
    return folder.is_dir() and any(is_lowered_file(xml) for xml in folder.glob("*.xml") if "tokenizer" not in xml.stem)


def _level_name(folder: Path) -> str:
    """The name of the folder's model with levels.

    :raises UsageError: it has none.
    """
    names = [level_name(xml) for xml in sorted(folder.glob("*.xml")) if "tokenizer" not in xml.stem]
    found = next((name for name in names if name is not None), None)
    if found is None:
        msg = f"{folder} has no levels; apply it with --levels, or leave the level out"
        raise UsageError(msg)
    return found


def _draft_name(folder: Path) -> str:
    return f"{level_name(folder / MODEL_FILE)}.draft"


@contextlib.contextmanager
def _draft(main: Path, draft: str | Path | None, device: str) -> Iterator[Any]:
    """A draft_model of another folder, or of the main one under a name of its own; the .bin is that of the main model."""
    genai = import_genai("pipelines need")
    if draft is not None:
        with told(Path(draft), "load", "is it a language model with the tokenizer of the main one?"):
            yield genai.draft_model(str(draft), device, **(_F32 if _lowered(Path(draft)) else {}))
        return
    _level_name(main)
    text = (main / MODEL_FILE).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="scap_ov.") as scratch:
        for item in main.absolute().iterdir():
            if item.name != MODEL_FILE:
                (Path(scratch) / item.name).symlink_to(item)
        renamed = _NAME.sub(f'level_model="{html.escape(_draft_name(main))}"', text)
        (Path(scratch) / MODEL_FILE).write_text(renamed, encoding="utf-8")
        with told(main, "load as a draft", "is it a language model in a complete folder?"):
            yield genai.draft_model(scratch, device, **_F32)
