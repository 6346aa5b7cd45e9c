"""Make an nncf.Dataset for calibration: from text and a tokenizer, or from text that the model itself samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov

from scap_ov.errors import BadDatasetError, BadModelError, MissingDependencyError, UsageError
from scap_ov.models.inputs import Inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import nncf

SEQ_LEN = 256  # SCAP's paper calibrates on 64 windows of 256 tokens
MAX_TOKENS = 16_384
# Openings for `self_dataset`: enough to leave the model's habitual first word, too little to choose its topic.
_OPENINGS = ("The", "In", "A", "It was", "When", "How", "def", "# ", "Dear", "1.", "There are", "Question:", "We", "Once", "\n", "If")

_PROBE = 20_000  # pairs of words: longer than the longest input of the tokenizers in use, some milliseconds to encode


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
    if seq_len < 2 or max_tokens < seq_len:
        msg = f"seq_len is {seq_len} and max_tokens is {max_tokens}; give at least 2 tokens to a window and room for one window"
        raise UsageError(msg)
    encode = tokenizer if callable(tokenizer) else load_tokenizer(tokenizer)
    prefix = list(getattr(encode, "prefix", ()))
    ids = encode(_read(text))
    length = seq_len - len(prefix)
    if len(ids) < 2:
        msg = f"the calibration text has {len(ids)} tokens; give a longer one (16,000 tokens are usual, 2 are the least)"
        raise BadDatasetError(msg)
    count = max(len(ids) // length, 1)
    starts = np.arange(count) * length
    wanted = max(max_tokens // seq_len, 1)
    if count > wanted:
        starts = starts[np.arange(wanted) * count // wanted]
    return token_dataset([prefix + ids[s : s + length] for s in starts.tolist()], model)


def self_dataset(
    folder: str | Path,
    *,
    tokens: int = MAX_TOKENS,
    seed: int = 0,
    seq_len: int = SEQ_LEN,
    progress: Callable[[int, int], None] | None = None,
) -> nncf.Dataset:
    """Let the model of a folder write its own calibration text, at temperature 1 and without a chat template.

    :param folder: a model folder with openvino_model.xml and openvino_tokenizer.xml.
    :param tokens: how many tokens at least, openings included; texts come sixteen at a time.
    :param seed: the same seed gives the same text.
    :param progress: called with (tokens so far, tokens).
    :raises MissingDependencyError: openvino-genai is not installed.
    """
    try:
        import openvino_genai as genai
    except ImportError as e:
        msg = "calibrating on the model's own text needs openvino-genai; pip install scap_ov[genai], or give a text file"
        raise MissingDependencyError(msg) from e
    xml = Path(folder) / "openvino_model.xml"
    if not xml.is_file():
        msg = f"{folder} holds no openvino_model.xml; give the folder that optimum-cli export openvino wrote"
        raise BadModelError(msg)
    encode = load_tokenizer(folder)
    openings = [list(encode.prefix) + encode(text) for text in _OPENINGS]
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1  # GB; a batch of short sequences
    pipeline = genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU")
    samples: list[list[int]] = []
    done = turn = 0
    while done < tokens:
        # All openings at once: one step reads the weights for all of them, five times the speed of one after the other.
        configs = [_sampling(genai, seq_len - len(o), seed * 1_000_003 + turn + i) for i, o in enumerate(openings)]
        results = pipeline.generate([ov.Tensor(np.array([o], np.int64)) for o in openings], configs)
        turn += len(openings)
        written = [list(r.m_generation_ids[0]) for r in results]
        fresh = [(o + w)[:seq_len] for o, w in zip(openings, written, strict=True) if len(w) > 1]
        if not fresh:
            break
        samples += fresh
        done += sum(map(len, fresh))
        if progress:
            progress(min(done, tokens), tokens)
    if not samples:
        msg = "the model ends every text at once, so it cannot write its own calibration text; give a text file instead"
        raise BadDatasetError(msg)
    return token_dataset(samples, ov.Core().read_model(xml))


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


class Tokenize:
    """A function from text to token ids without special tokens; `prefix` holds those that open a sequence (BOS, CLS).

    1. Tokenizers converted to OpenVINO cut what they return at the model's longest input without a word, so a text is encoded in pieces.
    2. Some add special tokens whatever they are asked for: those that an empty text gets are taken off every piece.
    """

    def __init__(self, encode: Callable[[str, bool], list[int]]) -> None:
        """Wrap `encode(text, add_special_tokens)`."""
        self._encode = encode
        self._before, self._after = _always(encode("", False), encode("a", False))
        plain, special = self._bare("a"), encode("a", True)
        at = next((i for i in range(len(special)) if special[i : i + len(plain)] == plain), 0)
        self.prefix = tuple(special[:at])
        probe = "a b " * _PROBE
        limit = len(encode(probe, False)) - len(self._before) - len(self._after)
        # A character is at most four tokens (bytes of UTF-8). Whoever returns the whole probe does not cut.
        self._piece = len(probe) if limit >= 2 * _PROBE else max(limit // 4, 1)

    def __call__(self, text: str) -> list[int]:
        """Token ids of a text."""
        return [token for piece in _pieces(text, self._piece) for token in self._bare(piece)]

    def _bare(self, text: str) -> list[int]:
        """Rule 2."""
        ids = self._encode(text, False)
        start = len(self._before) if ids[: len(self._before)] == self._before else 0
        stop = len(ids) - len(self._after) if self._after and ids[-len(self._after) :] == self._after else len(ids)
        return ids[start:stop]


def _always(empty: list[int], letter: list[int]) -> tuple[list[int], list[int]]:
    """What is added before and after every text: the tokens of an empty one, split where those of a letter come in."""
    for at in range(len(empty), -1, -1):
        before, after = empty[:at], empty[at:]
        if len(letter) > len(empty) and letter[:at] == before and letter[len(letter) - len(after) :] == after:
            return before, after
    return [], []


def load_tokenizer(folder: str | Path) -> Tokenize:
    """The tokenizer of a model folder: openvino_tokenizer.xml through openvino-genai, else tokenizer.json, else transformers.

    :raises MissingDependencyError: the folder has a tokenizer but no installed package reads it.
    :raises UsageError: the folder has none.
    """
    folder = Path(folder)
    tried = []
    if (folder / "openvino_tokenizer.xml").is_file():
        try:
            import openvino_genai as genai

            native = genai.Tokenizer(str(folder))
            return Tokenize(lambda text, special: _unpadded(native.encode(text, add_special_tokens=special)))
        except ImportError:
            tried.append("openvino-genai")
    if (folder / "tokenizer.json").is_file():
        try:
            from tokenizers import Tokenizer

            fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
            fast.no_padding()  # what was stored with it was for other uses
            fast.no_truncation()
            return Tokenize(lambda text, special: fast.encode(text, add_special_tokens=special).ids)
        except ImportError:
            tried.append("tokenizers")
    if (folder / "tokenizer_config.json").is_file():
        try:
            from transformers import AutoTokenizer

            slow = AutoTokenizer.from_pretrained(folder)
            return Tokenize(lambda text, special: slow.encode(text, add_special_tokens=special))
        except ImportError:
            tried.append("transformers")
    if tried:
        msg = f"the tokenizer in {folder} needs {' or '.join(tried)}, which is not installed; pip install {tried[0]}"
        raise MissingDependencyError(msg)
    msg = f"{folder} holds no openvino_tokenizer.xml and no tokenizer.json; give a folder with a tokenizer"
    raise UsageError(msg)


def _unpadded(encoded: Any) -> list[int]:
    """The tokens of one text, without the padding that a converted tokenizer may add."""
    kept = encoded.attention_mask.data[0].astype(bool)
    return np.asarray(encoded.input_ids.data[0][kept]).tolist()


def _read(text: str | Path) -> str:
    if isinstance(text, str) and not _is_file(text):
        if text.strip() and not any(c.isspace() for c in text) and Path(text).suffix[1:].isalpha():
            msg = f"no such text file: {text}"
            raise BadDatasetError(msg)
        return text
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        msg = f"{text} cannot be read as UTF-8 text ({e}); give a plain text file"
        raise BadDatasetError(msg) from e


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a file name, or with a null character
        return False


def _pieces(text: str, size: int) -> Iterator[str]:
    """Cut a text into pieces of at most `size` characters, before a space that follows a word where there is one."""
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            for at in range(end, start + size // 2, -1):
                if text[at] == " " and not text[at - 1].isspace():
                    end = at
                    break
        yield text[start:end]
        start = end
