"""Text of files: what JSON and Windows put into it comes out as it is, what is no text is told, and long files are read in places."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scap_ov.errors import BadDatasetError
from scap_ov.models import text as module
from scap_ov.models.text import cut, is_blank, read_text


def words(text):
    """A token for each word: its number."""
    return [int(word.strip("\ufeff")) for word in text.split()]


def numbers(count):
    return " ".join(map(str, range(count)))


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1e", "\r"])
def test_rule_1_only_line_feeds_end_a_line_of_jsonl(tmp_path, separator):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps({"text": f"a{separator}b"}, ensure_ascii=False).encode() + b"\r\n" + b'{"text": "c"}')
    assert read_text(path) == f"a{separator}b\n\nc"


@pytest.mark.parametrize("name", ["a.jsonl", "A.JSONL", "a.ndjson"])
def test_rule_1_a_byte_order_mark_and_the_case_of_the_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + b'{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n')
    assert read_text(tmp_path / name) == "a\n\nb"
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\rc")
    assert read_text(tmp_path / "a.txt") == "a\nb\nc"


@pytest.mark.parametrize(
    ("line", "told"),
    [('{"text": null}', 'its "text" is null'), ('{"text": 5}', 'its "text" is 5'), ('{"text": NaN}', 'its "text" is NaN'),
     ('{"text": ["a"]}', 'its "text" is ["a"]'), ('{"text": "\\ud800"}', "lone surrogate"), ('{"a": "\\udc00", "text": "b"}', "surrogate"),
     ('{"text": ' + "[" * 100_000, "nested too deeply"), ("[1]", "is no JSON object"), ("{oops", "is no JSON ("),
     ('{"text": ' + "9" * 5000 + "}", "is no JSON ("), ('{"other": 1}', 'no line with a "text" key')],
)  # fmt: skip
def test_rule_3_what_is_no_text_is_told(tmp_path, line, told):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(BadDatasetError) as e:
        read_text(tmp_path / "a.jsonl")
    assert told in str(e.value)


def test_rule_3_a_pair_of_surrogates_is_one_character(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud83d\\ude00"}')
    assert read_text(tmp_path / "a.jsonl") == "\U0001f600"
    with pytest.raises(BadDatasetError, match="lone surrogate"):
        cut("a \ud800 b", lambda text: [1, 2], 2, 2)


def test_other_encodings_and_missing_files_are_told(tmp_path):
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_bytes('{"text": "a"}'.encode("utf-16"))
        with pytest.raises(BadDatasetError, match="UTF-8"):
            read_text(tmp_path / name)
        (tmp_path / name).unlink()
        with pytest.raises(BadDatasetError, match="cannot be read as UTF-8 text \\(No such file"):
            read_text(tmp_path / name)


def test_a_blank_file(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf \r\n\t")
    (tmp_path / "a.jsonl").write_text('{"text": " "}\n\n')
    assert is_blank(tmp_path / "a.txt")
    assert is_blank(tmp_path / "a.jsonl")
    (tmp_path / "a.txt").write_text("\n" * 10 + "a")
    assert not is_blank(tmp_path / "a.txt")


@pytest.mark.parametrize("kind", ["text", "a.txt", "a.jsonl"])
def test_rule_2_a_long_text_is_read_in_places(tmp_path, monkeypatch, kind):
    """100,000 numbers for two windows of eight: each window is a run of consecutive ones, the second from the middle."""
    text = numbers(100_000)
    split = text.split()
    if kind == "a.jsonl":
        lines = [{"text": " ".join(split[i : i + 10])} for i in range(0, 100_000, 10)]
        (tmp_path / kind).write_text("\n".join(map(json.dumps, lines)))
    elif kind == "a.txt":
        (tmp_path / kind).write_text(text)
    encoded = []

    def counted(piece):
        encoded.append(len(piece))
        return words(piece)

    windows = cut(text if kind == "text" else tmp_path / kind, counted, 8, 2)
    assert [len(w) for w in windows] == [8, 8]
    assert windows[0] == list(range(8))
    assert windows[1] == list(range(windows[1][0], windows[1][0] + 8))
    assert 50_000 < windows[1][0] < 60_000
    assert sum(encoded) < 1000


def test_rule_2_pieces_of_long_tokens_grow_until_a_window_is_full():
    windows = cut("x" * 5000 + " y" * 5000, lambda piece: [len(word) for word in piece.split()], 4, 3)
    assert [len(w) for w in windows] == [4, 4, 4]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), st.data())
def test_rule_2_no_character_is_torn(tmp_path_factory, text, data):
    path = tmp_path_factory.mktemp("torn") / "a.txt"
    path.write_text(text, encoding="utf-8", newline="")
    raw = text.encode()
    start, wanted = data.draw(st.integers(0, len(raw))), data.draw(st.integers(4, 80))
    piece, more = module._piece(path, start, wanted)
    assert more == (start + wanted < len(raw))
    assert piece.replace("\n", "").replace("\ufeff", "") in text.replace("\r", "").replace("\n", "").replace("\ufeff", "")
