"""Cut an evaluation text into windows of token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scap_ov.errors import BadDatasetError, UsageError


def text_windows(text: str | Path | Sequence[Any], tokenizer: Any, *, window: int, max_tokens: int) -> list[np.ndarray]:
    """Windows of `window` tokens, spread evenly over the text when it is longer than `max_tokens`.

    :param text: the text, a Path to a UTF-8 file, or windows of token ids that are ready.
    :param tokenizer: function from str to token ids, or a folder with a tokenizer; not used for ready windows.
    :return: int64 arrays [T], all of at least two tokens.
    :raises BadDatasetError: the text gives no window of two tokens.
    """
    if not isinstance(text, (str, Path)):
        ready = [np.asarray(ids, np.int64).reshape(-1) for ids in text]
        ready = [ids for ids in ready if len(ids) >= 2]
        if not ready:
            msg = "the evaluation data has no window of two tokens; give more"
            raise BadDatasetError(msg)
        return ready
    if window < 2 or max_tokens < 2:
        msg = f"window is {window} and max_tokens is {max_tokens}; both must be at least 2"
        raise UsageError(msg)
    encode = _encoder(tokenizer)
    prefix = list(getattr(encode, "prefix", ()))
    ids = list(encode(read_text(text)))
    if len(ids) < 2:
        msg = f"the evaluation text has {len(ids)} tokens; give a longer one"
        raise BadDatasetError(msg)
    length = max(min(window, max_tokens) - len(prefix), 1)
    count = max(len(ids) // length, 1)
    wanted = max(max_tokens // min(window, max_tokens), 1)
    picked = np.arange(count) if count <= wanted else np.arange(wanted) * count // wanted
    windows = [np.array(prefix + ids[i * length : (i + 1) * length], np.int64) for i in picked]
    return [w for w in windows if len(w) >= 2]


def read_text(text: str | Path) -> str:
    """The text itself, or what a file holds; a .jsonl file gives its "text" values.

    :raises BadDatasetError: the file cannot be read.
    """
    if isinstance(text, str):
        return text
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        msg = f"{text} cannot be read as UTF-8 text ({reason}); give a plain text file"
        raise BadDatasetError(msg) from e
    if text.suffix == ".jsonl":
        from scap_ov.models.jsonl import read_jsonl

        lines = [str(row["text"]) for row in read_jsonl(text) if "text" in row]
        if not lines:
            msg = f'{text} has no line with a "text" key; give a plain text file, or use `--tasks` for questions with choices'
            raise BadDatasetError(msg)
        return "\n\n".join(lines)
    return content


def _encoder(tokenizer: Any) -> Callable[[str], Sequence[int]]:
    if callable(tokenizer):
        return tokenizer
    from scap_ov.models.tokenizer import load_tokenizer

    return load_tokenizer(tokenizer)
