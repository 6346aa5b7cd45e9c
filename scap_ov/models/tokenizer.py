"""The tokenizer of a model folder, by whichever installed package reads it, as one function from text to token ids."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scap_ov.arguments import check_path
from scap_ov.errors import BadModelError, MissingDependencyError, UsageError, reason_of
from scap_ov.models.genai import import_genai
from scap_ov.optional import optional

_PROBE = 20_000  # pairs of words: longer than the longest input of the tokenizers in use, some milliseconds to encode
_log = logging.getLogger(__name__)

Encode = Callable[[str, bool], list[int]]  # text and whether to add special tokens -> ids


class Tokenize:
    """A function from text to token ids without special tokens; `prefix` holds those that open a sequence (BOS, CLS).

    1. Tokenizers converted to OpenVINO cut what they return at the model's longest input without a word, so a text is encoded in pieces.
    2. Some add special tokens whatever they are asked for: those that an empty text gets are taken off every piece.
    """

    def __init__(self, encode: Encode) -> None:
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
    """The tokenizer of a model folder.

    1. openvino_tokenizer.xml through openvino-genai, else tokenizer.json through tokenizers, else tokenizer_config.json through
       transformers.
    2. One that is damaged, or whose package is not there or broken, is passed over for the next; what was damaged or broken is told.

    :raises MissingDependencyError: the folder has a tokenizer but no installed package reads it.
    :raises BadModelError: it has one and it is damaged.
    :raises UsageError: it has none.
    """
    check_path("folder", folder, "the folder of a tokenizer")
    failed: list[Exception] = []
    for name, read in (("openvino_tokenizer.xml", _with_genai), ("tokenizer.json", _with_tokenizers),
                       ("tokenizer_config.json", _with_transformers)):  # fmt: skip
        if not (Path(folder) / name).is_file():
            continue
        try:
            found = Tokenize(read(Path(folder)))
        except MissingDependencyError as e:
            failed.append(e)
        except Exception as e:  # noqa: BLE001 - tokenizers raises Exception itself, each of the others what it likes
            failed.append(BadModelError(f"{Path(folder) / name} cannot be read ({reason_of(e)}); export the model again"))
        else:
            for error in failed:
                if isinstance(error, BadModelError) or "cannot be imported" in str(error):
                    _log.warning("%s is used, for %s", name, error)
            return found
    if failed:
        raise next((e for e in failed if isinstance(e, BadModelError)), failed[0])
    msg = f"{folder} holds no openvino_tokenizer.xml and no tokenizer.json; give a folder with a tokenizer"
    raise UsageError(msg)


def _with_genai(folder: Path) -> Encode:
    native = import_genai(f"the tokenizer in {folder} needs").Tokenizer(str(folder))
    return lambda text, special: _unpadded(native.encode(text, add_special_tokens=special))


def _unpadded(encoded: Any) -> list[int]:
    """The tokens of one text, without the padding that a converted tokenizer may add."""
    kept = encoded.attention_mask.data[0].astype(bool)
    return np.asarray(encoded.input_ids.data[0][kept]).tolist()


def _with_tokenizers(folder: Path) -> Encode:
    fast = optional("tokenizers", f"the tokenizer in {folder} needs", "tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    fast.no_padding()  # a file may have been saved while it padded or cut
    fast.no_truncation()
    return lambda text, special: fast.encode(text, add_special_tokens=special).ids


def _with_transformers(folder: Path) -> Encode:
    slow = optional("transformers", f"the tokenizer in {folder} needs", "transformers").AutoTokenizer.from_pretrained(folder)
    return lambda text, special: slow.encode(text, add_special_tokens=special)


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
