"""Make an nncf.Dataset for calibration: from text and a tokenizer, or from text that the model itself samples."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov

from scap_ov.arguments import check_count, check_path, check_type
from scap_ov.errors import BadDatasetError, UsageError, reason_of
from scap_ov.models.genai import import_genai, open_pipeline, openvino_file, told
from scap_ov.models.inputs import Inputs
from scap_ov.models.text import cut
from scap_ov.models.tokenizer import load_tokenizer
from scap_ov.progress import Progress
from scap_ov.storage.linked_folder import linked_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import nncf

_log = logging.getLogger(__name__)

SEQ_LEN = 256  # SCAP's paper calibrates on 64 windows of 256 tokens
MAX_TOKENS = 16_384
# Openings for `self_dataset`: enough to leave the model's habitual first word, too little to choose its topic.
_OPENINGS = ("The", "In", "A", "It was", "When", "How", "def", "# ", "Dear", "1.", "There are", "Question:", "We", "Once", "\n", "If")


def text_dataset(
    text: str | Path,
    tokenizer: str | Path | Callable[[str], list[int]],
    model: ov.Model,
    *,
    seq_len: int = SEQ_LEN,
    max_tokens: int = MAX_TOKENS,
) -> nncf.Dataset:
    """Cut a text into windows and tokenize them for a model.

    :param text: the text itself, or a Path (or the path as str) of a UTF-8 file.
    :param tokenizer: a folder, or what `load_tokenizer` returned: a function from str to token ids.
    :param model: openvino.Model or CompiledModel; only its inputs are looked at.
    :param seq_len: tokens of a window, the leading special tokens included.
    :param max_tokens: most tokens in all; a longer text gives windows that are spread over it evenly.
    :raises BadDatasetError: the file cannot be read or the text is too short for one window of two tokens.
    """
    check_type("text", text, (str, Path), "the text itself, or the path of a UTF-8 file")
    for name, value in (("seq_len", seq_len), ("max_tokens", max_tokens)):
        check_type(name, value, Integral, "a whole number")
    if not callable(tokenizer):
        check_path("tokenizer", tokenizer, "a function from text to token ids, or the folder of one")
    if not hasattr(model, "inputs"):
        msg = f"model is of type {type(model).__name__}; give an openvino.Model, whose inputs are looked at"
        raise UsageError(msg)
    if seq_len < 2 or max_tokens < seq_len:
        msg = f"seq_len is {seq_len} and max_tokens is {max_tokens}; give at least 2 tokens to a window and room for one window"
        raise UsageError(msg)
    encode = tokenizer if callable(tokenizer) else load_tokenizer(tokenizer)
    prefix = list(getattr(encode, "prefix", ()))
    windows = cut(_source(text), encode, max(seq_len - len(prefix), 1), max(max_tokens // seq_len, 1))
    if max(map(len, windows)) < 2:
        msg = f"the calibration text has {max(map(len, windows))} tokens; give a longer one (16,000 tokens are usual, 2 are the least)"
        raise BadDatasetError(msg)
    return token_dataset([prefix + ids for ids in windows], model)


def self_dataset(
    folder: str | Path,
    *,
    tokens: int = MAX_TOKENS,
    seed: int = 0,
    seq_len: int = SEQ_LEN,
    progress: Progress | None = None,
) -> nncf.Dataset:
    """Let the model of a folder write its own calibration text, at temperature 1 and without a chat template.

    :param folder: a model folder with openvino_tokenizer.xml, or the model's .xml in it.
    :param tokens: how many tokens, openings included; the last text is cut. Texts come sixteen at a time.
    :param seed: the same seed gives the same text.
    :param progress: called with (tokens so far, tokens).
    :raises MissingDependencyError: openvino-genai is not installed.
    :raises BadModelError: there is no model, or openvino-genai cannot run it.
    """
    check_path("folder", folder, "the folder of a model")
    for name, value, least in (("tokens", tokens, 2), ("seq_len", seq_len, 2), ("seed", seed, 0)):
        check_count(name, value, least)
    genai = import_genai("calibrating on the model's own text (instead of a text file) needs")
    xml = openvino_file(folder)
    encode = load_tokenizer(xml.parent)
    openings = [list(encode.prefix) + encode(text) for text in _OPENINGS]
    write = _writer(genai, xml)
    samples: list[list[int]] = []
    done = turn = fruitless = 0
    while tokens - done > 1 and fruitless < len(openings):
        # Many openings at once: one step reads the weights for all of them, five times the speed of one after the other.
        some = [openings[(turn + i) % len(openings)] for i in range(min(len(openings), -(-(tokens - done) // seq_len)))]
        configs = [_sampling(genai, seq_len - len(o), seed * 1_000_003 + turn + i) for i, o in enumerate(some)]
        with told(xml, "write text with", "give a text file with --data"):
            written = write([ov.Tensor(np.array([o], np.int64)) for o in some], configs)
        turn += len(some)
        fresh = _cut([(o + w)[:seq_len] for o, w in zip(some, written, strict=True) if len(w) > 1], tokens - done)
        samples += fresh
        done += sum(map(len, fresh))
        fruitless = 0 if fresh else fruitless + len(some)
        if progress:
            progress(min(done, tokens), tokens)
    if not samples:
        msg = "the model ends every text at once, so it cannot write its own calibration text; give a text file instead"
        raise BadDatasetError(msg)
    return token_dataset(samples, ov.Core().read_model(xml))


def _cut(texts: list[list[int]], tokens: int) -> list[list[int]]:
    """The first texts that hold so many tokens, the last of them cut; never one of a single token."""
    kept: list[list[int]] = []
    for text in texts:
        part = text[:tokens]
        tokens -= len(part)
        kept += [part] if len(part) > 1 else []
    return kept


def _writer(genai: Any, xml: Path) -> Callable[[list[ov.Tensor], list[Any]], list[list[int]]]:
    """A function from prompts and their settings to the tokens that follow: all prompts at once where the model allows it."""
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1  # GB; a batch of short sequences
    with linked_folder(xml) as folder:
        try:
            pipeline = genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU")
        except RuntimeError as e:  # paged attention replaces fused attention, which not every model has
            _log.warning("the model writes its text one sequence at a time, which is slower: paged attention refuses it (%s)", reason_of(e))
        else:
            return partial(_in_steps, pipeline)
    single = open_pipeline(xml, "SDPA")
    return lambda prompts, configs: [list(single.generate(p, c).tokens[0]) for p, c in zip(prompts, configs, strict=True)]


def _in_steps(pipeline: Any, prompts: list[ov.Tensor], configs: list[Any]) -> list[list[int]]:
    """What `generate` writes, step by step: Ctrl-C is heard of between two calls only."""
    handles = [pipeline.add_request(number, *request) for number, request in enumerate(zip(prompts, configs, strict=True))]
    try:
        while pipeline.has_non_finished_requests():
            pipeline.step()
    except BaseException:
        for handle in handles:  # else openvino-genai complains, on standard error, of what they hold
            handle.cancel()
        with suppress(RuntimeError):
            pipeline.step()
        raise
    return [list(handle.read_all()[0].generated_ids) for handle in handles]


def _sampling(genai: Any, new_tokens: int, seed: int) -> Any:
    return genai.GenerationConfig(
        max_new_tokens=max(new_tokens, 2), do_sample=True, temperature=1.0, top_p=1.0, top_k=0, rng_seed=seed, apply_chat_template=False
    )


def token_dataset(sequences: Iterable[Sequence[int]], model: ov.Model) -> nncf.Dataset:
    """One sample for each sequence of token ids, with every input that the model asks for."""
    import nncf

    return nncf.Dataset([np.array([s], np.int64) for s in sequences], Inputs(model).for_tokens)


def model_inputs(model: ov.Model, input_ids: np.ndarray) -> dict[str, np.ndarray]:
    """All inputs of a language model or text encoder for whole sequences without padding.

    :param model: openvino.Model or CompiledModel: stateful (beam_idx), with past key values as inputs, or an encoder.
    :param input_ids: int64 [B, T].
    :raises BadModelError: an input is none of those that token ids determine.
    """
    return Inputs(model).for_tokens(input_ids)


def _source(text: str | Path) -> str | Path:
    """The path of a file, or a text."""
    if isinstance(text, Path) or _is_file(text):
        return Path(text)
    if text.strip() and not any(c.isspace() for c in text) and Path(text).suffix[1:].isalpha():
        msg = f"no such text file: {text}"
        raise BadDatasetError(msg)
    return text


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a file name, or with a null character
        return False
