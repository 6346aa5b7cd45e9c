"""Cut an evaluation text into windows of token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from scap_ov.arguments import check_type
from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.models.text import cut

Tokenizer: TypeAlias = "Callable[[str], Sequence[int]] | str | Path"  # a function from text to token ids, or a folder with one


def text_windows(text: str | Path | Sequence[object], tokenizer: Tokenizer | None, *, window: int, max_tokens: int) -> list[np.ndarray]:
    """Windows of `window` tokens, spread evenly over the text when it is longer than `max_tokens`.

    :param text: the text, a Path to a UTF-8 file, or windows of token ids that are ready.
    :param tokenizer: function from str to token ids, or a folder with a tokenizer; not used for ready windows.
    :return: int64 arrays [T], all of at least two tokens.
    :raises BadDatasetError: the text gives no window of two tokens.
    """
    if not isinstance(text, (str, Path)):
        check_type("the evaluation data", text, Iterable, "a text, the Path of a file, or windows of token ids")
        ready = [_window_of_ids(ids, number) for number, ids in enumerate(text)]
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
    length = max(min(window, max_tokens) - len(prefix), 1)
    found = cut(text, encode, length, max(max_tokens // min(window, max_tokens), 1))
    if max(map(len, found)) < min(2, length + len(prefix)):
        msg = f"the evaluation text has {max(map(len, found))} tokens; give a longer one"
        raise BadDatasetError(msg)
    windows = [np.array(prefix + ids, np.int64) for ids in found]
    return [w for w in windows if len(w) >= 2]


def _window_of_ids(ids: object, number: int) -> np.ndarray:
    """A window of token ids, int64 [T].

    :raises BadDatasetError: it is none.
    """
    try:
        given = np.asarray(ids)
    except ValueError:  # rows of several lengths
        given = np.zeros(1, object)
    if given.dtype.kind not in "iu" and given.size:
        msg = f"window {number} of the evaluation data is {_short(ids)}; give token ids, whole numbers"
        raise BadDatasetError(msg)
    one = given.ndim == 1 or (given.ndim == 2 and len(given) == 1)
    if not one or given.min(initial=0) < 0:
        what = f"the negative id {given.min()}" if one else f"the shape {list(given.shape)}"
        msg = f"window {number} of the evaluation data has {what}; give one sequence of token ids, from 0 up"
        raise BadDatasetError(msg)
    return given.astype(np.int64).reshape(-1)


def _short(value: object) -> str:
    told = repr(value)
    return told if len(told) <= 40 else f"{told[:40]}..."


def _encoder(tokenizer: Tokenizer | None) -> Callable[[str], Sequence[int]]:
    if callable(tokenizer):
        return tokenizer
    if tokenizer is None:
        msg = "a text needs a tokenizer; give the folder of one, or a function from text to token ids"
        raise UsageError(msg)
    from scap_ov.models.tokenizer import load_tokenizer

    check_type("tokenizer", tokenizer, (str, Path), "a function from text to token ids, or the folder of one")
    return load_tokenizer(tokenizer)
