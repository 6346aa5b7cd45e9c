"""Text to calibrate and measure on: a string, a UTF-8 file, or the "text" values of a .jsonl; a long file is read in places only.

1. Files may begin with a byte order mark, and end their lines as on Windows.
2. Of a text that is much longer than what is wanted of it, pieces are read that are spread evenly over it: time and memory go with what is
   wanted, not with the file.
3. What is no text (null, a number, half of a character outside Unicode's first plane) is told, and never read as the word None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.json_values import JsonObject

LONG = 256  # characters for each token that is wanted, from which on a text is read in places: tokens have 3 to 5
_PER_TOKEN = 16  # characters to read for each token of a window at first
_WORD = 64  # characters in which a window that begins anywhere looks for the next word
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_JSONL = (".jsonl", ".ndjson")


def cut(text: str | Path, encode: Callable[[str], Sequence[int]], length: int, most: int) -> list[list[int]]:
    """Windows of token ids, spread evenly over a text. Rule 2.

    :param text: the text itself, or the Path of a file.
    :param length: tokens of a window, at least 1.
    :param most: windows; fewer come from a shorter text.
    :return: lists of `length` ids; a text that is shorter than one window gives one shorter list.
    :raises BadDatasetError: the file cannot be read, or holds something else than text.
    """
    size = len(text) if isinstance(text, str) else _size(text)
    if size <= LONG * length * most:
        ids = _encoded(encode, read_text(text))
        count = max(len(ids) // length, 1)
        picked = np.arange(count) if count <= most else np.arange(most) * count // most
        return [ids[i * length : (i + 1) * length] for i in picked.tolist()]
    return [_window(text, size * i // most, encode, length) for i in range(most)]


def _encoded(encode: Callable[[str], Sequence[int]], text: str) -> list[int]:
    """What a tokenizer, which may be a function of the user's, makes of a text.

    :raises UsageError: that is no token ids.
    """
    ids = encode(text)
    if not isinstance(ids, (Sequence, np.ndarray)) or not all(isinstance(token, (int, np.integer)) for token in ids):
        msg = f"the tokenizer gives a {type(ids).__name__} for a text, and no list of token ids; give a function such as tokenizer.encode"
        raise UsageError(msg)
    return list(ids)


def read_text(text: str | Path) -> str:
    """The text itself, or all that a file holds; a .jsonl file gives its "text" values.

    :raises BadDatasetError: the file cannot be read, or holds something else than text.
    """
    if isinstance(text, str):
        return _checked(text, "the text")
    if is_jsonl(text):
        return "\n\n".join(_texts(text, 0))
    with _opened(text) as file:
        return _decoded(file.read(), text)


def is_blank(path: Path) -> bool:
    """Whether a file holds nothing but white space; only its beginning is read where that is enough.

    :raises BadDatasetError: the file cannot be read, or holds something else than text.
    """
    if is_jsonl(path):
        return not any(text.strip() for text in _texts(path, 0))
    with _opened(path) as file:
        return not any(piece.strip(b"\xef\xbb\xbf \t\r\n\f\v") for piece in iter(lambda: file.read(1 << 20), b""))


def is_jsonl(path: str | Path) -> bool:
    """Whether a file's name says that it holds a JSON object a line."""
    return Path(path).suffix.lower() in _JSONL


def json_rows(path: Path, start: int = 0) -> Iterator[tuple[str, JsonObject]]:
    """Where it stands, and the object, of each line of a .jsonl; only line feeds end a line, for U+2028 and the like may stand in a string.

    :param start: byte to start at; the line that it lies in is passed over, unless it is the first.
    :raises BadDatasetError: the file cannot be read, or a line is no JSON object.
    """
    with _opened(path) as file:
        file.seek(max(start - 1, 0))
        if start:
            file.readline()
        for number, line in enumerate(file, 1):
            where = f"{path} line {number}" if not start else f"a line of {path} behind byte {start}"
            if line.removeprefix(b"\xef\xbb\xbf").strip():
                yield where, _row(line.removeprefix(b"\xef\xbb\xbf"), where)


def _row(line: bytes, where: str) -> JsonObject:
    try:
        row = json.loads(line.decode("utf-8"))
        if _SURROGATE.search(line):
            json.dumps(row, ensure_ascii=False).encode()
    except RecursionError as e:
        msg = f"{where} is nested too deeply; give one flat object a line"
        raise BadDatasetError(msg) from e
    except UnicodeEncodeError as e:
        msg = f"{where} holds half of a character (a lone surrogate), which is no text; write it again with a JSON library"
        raise BadDatasetError(msg) from e
    except ValueError as e:
        why = "no UTF-8" if isinstance(e, UnicodeDecodeError) else f"no JSON ({getattr(e, 'msg', None) or e})"
        msg = f"{where} is {why}; give one object a line"
        raise BadDatasetError(msg) from e
    if not isinstance(row, dict):
        msg = f"{where} is no JSON object; give one object a line"
        raise BadDatasetError(msg)
    return row


def _texts(path: Path, start: int) -> Iterator[str]:
    """The "text" values from a byte on; lines without one are passed over, but not all of them."""
    found = False
    for where, row in json_rows(path, start):
        if "text" not in row:
            continue
        if not isinstance(row["text"], str):
            msg = f'{where}: its "text" is {json.dumps(row["text"])[:40]}; give a string, or leave the line out'
            raise BadDatasetError(msg)
        found = True
        yield row["text"]
    if not found and not start:
        msg = f'{path} has no line with a "text" key; give a plain text file, or use `--tasks` for questions with choices'
        raise BadDatasetError(msg)


def _window(text: str | Path, start: int, encode: Callable[[str], Sequence[int]], length: int) -> list[int]:
    """The first `length` tokens behind a place."""
    wanted = _PER_TOKEN * length
    while True:
        piece, more = _piece(text, start, wanted)
        ids = _encoded(encode, piece)
        if len(ids) >= length or not more:
            return ids[:length]
        wanted *= 2


def _piece(text: str | Path, start: int, wanted: int) -> tuple[str, bool]:
    """About `wanted` characters behind a place, from the beginning of a word or line on, and whether there are more."""
    if isinstance(text, str):
        return _from_word(_checked(text[start : start + wanted], "the text"), start), start + wanted < len(text)
    if is_jsonl(text):
        held, count = [], 0
        for value in _texts(text, start):
            held.append(value)
            count += len(value)
            if count >= wanted:
                return "\n\n".join(held), True
        return "\n\n".join(held), False
    with _opened(text) as file:
        file.seek(start)
        data = file.read(wanted)
        more = bool(file.read(1))
    if start:
        data = data.lstrip(bytes(range(0x80, 0xC0)))  # what is left of a character that began before
    if more:
        data = _whole_characters(data)
    return _from_word(_decoded(data, text), start), more


def _whole_characters(data: bytes) -> bytes:
    """Without a last character whose bytes are not all there."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # the first byte of a character of `size`
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if back < size else data
        if byte < 0x80:
            return data
    return data


def _from_word(piece: str, start: int) -> str:
    """From the next space on, where one is near."""
    at = next((i for i, c in enumerate(piece[:_WORD]) if c.isspace()), 0) if start else 0
    return piece[at:]


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as e:
        msg = f"{path} cannot be read as UTF-8 text ({e}); give a plain text file"
        raise BadDatasetError(msg) from e


def _checked(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as e:
        msg = f"{what} holds half of a character (a lone surrogate) at {e.start}, which is no text; read it again as UTF-8"
        raise BadDatasetError(msg) from e
    return text


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as e:
        msg = f"{path} cannot be read as UTF-8 text ({e.strerror}); give a plain text file"
        raise BadDatasetError(msg) from e


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        msg = f"{path} cannot be read as UTF-8 text ({e.strerror}); give a plain text file"
        raise BadDatasetError(msg) from e
