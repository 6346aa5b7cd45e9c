"""SentencePiece's BPE from tokens and scores: a dozen tokens, and what SentencePiece makes of texts by its rule (best score first)."""

from __future__ import annotations

import pytest

from scap_ov.sample_models.sentencepiece_bpe import sentencepiece_bpe

pytestmark = pytest.mark.slow  # needs `tokenizers`, which comes with the extra `export`
CONTROL, USER, BYTE, NORMAL = 3, 4, 6, 1
RANKED = ["ab", "bc", "▁a", "abc", "▁ab", "▁", "a", "b", "c", "<", ">"]
PIECES = [("<bos>", CONTROL, 0), ("<unk>", CONTROL, 0), ("  ", USER, 0), ("   ", USER, 0), ("<b>", USER, 0),
          *((f"<0x{value:02X}>", BYTE, 0) for value in range(256)),
          *((text, NORMAL, -rank) for rank, text in enumerate(RANKED))]  # fmt: skip


@pytest.fixture
def encode():
    def tokens(text, *, prefix_space=False, bos=None):
        names, types, scores = zip(*PIECES, strict=True)
        made = sentencepiece_bpe(names, scores, types, bos=bos, unknown=1, prefix_space=prefix_space)
        found = made.encode(text)
        assert made.decode(found.ids) == text
        return found.tokens

    return tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", ["abc"]),  # a+b before b+c, then ab+c
        ("bc abc", ["bc", "▁", "abc"]),  # ▁+a is worse than a+b, and ▁ab worse than abc
        (" a", ["▁a"]),
        ("a  b", ["a", "▁▁", "b"]),  # a run before anything else
        ("   c", ["▁▁▁", "c"]),
        ("<b>a", ["<b>", "a"]),  # user-defined: whole
        ("aé", ["a", "<0xC3>", "<0xA9>"]),
    ],
)
def test_best_score_first(encode, text, expected):
    assert encode(text) == expected


def test_a_blank_before_the_text(encode):
    assert encode("a", prefix_space=True) == ["▁a"]


def test_the_token_that_opens_a_text(encode):
    assert encode("a", bos=0) == ["<bos>", "a"]
