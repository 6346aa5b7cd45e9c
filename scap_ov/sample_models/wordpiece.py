"""BERT's uncased WordPiece tokenizer from a vocab.txt, for plain English text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")
_LONGEST = 100  # letters; longer words are unknown, as in BERT


def wordpiece(vocabulary: Path, longest: int = 128) -> Callable[[str], list[int]]:
    """A function from text to token ids, [CLS] and [SEP] included.

    :param vocabulary: one token a line, index = id.
    :param longest: tokens of an input; a longer text is cut.
    """
    ids = {token: number for number, token in enumerate(vocabulary.read_text(encoding="utf-8").splitlines())}

    def pieces(word: str) -> list[int]:
        found, start = [], 0
        while start < len(word):
            end = next((e for e in range(len(word), start, -1) if ("##" if start else "") + word[start:e] in ids), 0)
            if not end or len(word) > _LONGEST:
                return [ids["[UNK]"]]
            found.append(ids[("##" if start else "") + word[start:end]])
            start = end
        return found

    def encode(text: str) -> list[int]:
        plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        tokens = [token for word in _WORD.findall(plain) for token in pieces(word)]
        return [ids["[CLS]"], *tokens[: longest - 2], ids["[SEP]"]]

    return encode
