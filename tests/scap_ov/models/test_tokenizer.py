"""Tokenizers that are damaged, or whose package is broken, are passed over for the next one, and the true reason is told."""

from __future__ import annotations

import logging
import shutil
import sys
import types

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from scap_ov.errors import BadModelError, MissingDependencyError, UsageError
from scap_ov.models.tokenizer import Tokenize, _pieces, load_tokenizer


def letters(text, special=False):
    return [*([1] if special else []), *(ord(c) for c in text), *([2] if special else [])]


@pytest.fixture
def folder(tmp_path):
    """A folder with a tokenizer.json of two words, saved while it padded and cut."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "[PAD]": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.enable_padding(length=128, pad_id=3)
    words.enable_truncation(64)
    words.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_padding_and_cutting_that_a_file_was_saved_with_are_off(folder):
    encode = load_tokenizer(folder)
    assert encode("a b a") == [1, 2, 1]
    assert len(encode("a b " * 100)) == 200


@pytest.mark.parametrize("contents", ["<net garbage", "", '<?xml version="1.0"?><net/>'])
def test_a_damaged_openvino_tokenizer_is_passed_over_with_a_word(folder, caplog, contents):
    (folder / "openvino_tokenizer.xml").write_text(contents)
    with caplog.at_level(logging.WARNING, "scap_ov"):
        assert load_tokenizer(folder)("a b") == [1, 2]
    assert "openvino_tokenizer.xml cannot be read" in caplog.text
    assert "tokenizer.json is used" in caplog.text


def test_a_broken_openvino_genai_is_passed_over_with_its_reason(folder, caplog, monkeypatch, tmp_path):
    (folder / "openvino_tokenizer.xml").write_text("")
    fake = tmp_path / "fake"
    (fake / "openvino_genai").mkdir(parents=True)
    (fake / "openvino_genai" / "__init__.py").write_text("raise ImportError('undefined symbol: f')")
    monkeypatch.syspath_prepend(fake)
    monkeypatch.delitem(sys.modules, "openvino_genai", raising=False)
    with caplog.at_level(logging.WARNING, "scap_ov"):
        assert load_tokenizer(folder)("a b") == [1, 2]
    assert "installed but cannot be imported (undefined symbol: f)" in caplog.text
    shutil.rmtree(fake)
    (folder / "tokenizer.json").unlink()
    (fake / "openvino_genai").mkdir(parents=True)
    (fake / "openvino_genai" / "__init__.py").write_text("raise ImportError('undefined symbol: f')")
    with pytest.raises(MissingDependencyError, match="undefined symbol: f"):
        load_tokenizer(folder)


@pytest.mark.parametrize("contents", ['{"x": 1}', "", "[" * 500, "\0"])
def test_a_damaged_tokenizer_json_is_one_sentence(tmp_path, contents):
    (tmp_path / "tokenizer.json").write_text(contents)
    with pytest.raises(BadModelError, match=r"tokenizer\.json cannot be read \(.+\); export the model again"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_no_installed_package_reads_is_told(tmp_path, monkeypatch):
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingDependencyError, match="pip install tokenizers"):
        load_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"no openvino_tokenizer\.xml"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_transformers_fails_in_one_sentence(tmp_path, monkeypatch):
    def refuse(folder):
        msg = "tokenizer_class"
        raise KeyError(msg)

    fake = types.SimpleNamespace(AutoTokenizer=types.SimpleNamespace(from_pretrained=refuse))
    monkeypatch.setitem(sys.modules, "transformers", fake)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(BadModelError, match=r"tokenizer_config\.json cannot be read"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_cuts_long_input_still_reads_the_whole_text():
    encode = Tokenize(lambda text, special: letters(text, special)[:512])
    text = "some words " * 400
    assert encode(text) == letters(text)


@given(st.text(" ab\n", max_size=300), st.integers(1, 40))
def test_pieces_put_together_are_the_text(text, size):
    pieces = list(_pieces(text, size))
    assert "".join(pieces) == text
    assert all(0 < len(p) <= size for p in pieces)
