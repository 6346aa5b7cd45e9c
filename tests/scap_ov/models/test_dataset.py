"""Datasets: windows cover the text, inputs fit every kind of model, and mistakes are told."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvino import opset13 as ops

from scap_ov.errors import BadDatasetError, BadModelError, MissingDependencyError, UsageError
from scap_ov.models import dataset
from scap_ov.models.dataset import model_inputs, self_dataset, text_dataset, token_dataset
from scap_ov.models.tokenizer import Tokenize, load_tokenizer


def model_of(**inputs: tuple[list[int], str]) -> ov.Model:
    """A model that has these inputs and does nothing."""
    parameters = []
    for name, (shape, kind) in inputs.items():
        parameter = ops.parameter(shape, getattr(np, kind), name=name)
        parameter.output(0).set_names({name})
        parameters.append(parameter)
    return ov.Model([ops.result(p) for p in parameters], parameters)


IDS = {"input_ids": ([-1, -1], "int64")}
DECODER = {**IDS, "attention_mask": ([-1, -1], "int64"), "position_ids": ([-1, -1], "int64"), "beam_idx": ([-1], "int32")}


def letters(text: str, special: bool = False) -> list[int]:
    return [*([1] if special else []), *(ord(c) for c in text), *([2] if special else [])]


def samples(dataset) -> list[dict[str, np.ndarray]]:
    return list(dataset.get_inference_data())


def test_a_stateful_decoder_gets_all_four_inputs() -> None:
    got = model_inputs(model_of(**DECODER), np.array([[5, 6, 7], [8, 9, 3]]))
    assert {k: v.tolist() for k, v in got.items()} == {
        "input_ids": [[5, 6, 7], [8, 9, 3]],
        "attention_mask": [[1, 1, 1], [1, 1, 1]],
        "position_ids": [[0, 1, 2], [0, 1, 2]],
        "beam_idx": [0, 1],
    }
    assert got["beam_idx"].dtype == np.int32


def test_a_stateless_decoder_gets_an_empty_past_of_the_right_type() -> None:
    past = {"past_key_values.0.key": ([-1, 3, -1, 16], "float16"), "past_key_values.0.value": ([-1, 3, -1, 16], "float16")}
    got = model_inputs(model_of(**IDS, **past), np.zeros((2, 5), np.int64))
    assert got["past_key_values.0.key"].shape == (2, 3, 0, 16)
    assert got["past_key_values.0.value"].dtype == np.float16


def test_an_encoder_gets_token_types() -> None:
    got = model_inputs(model_of(**IDS, token_type_ids=([-1, -1], "int64")), np.zeros((1, 4), np.int64))
    assert got["token_type_ids"].tolist() == [[0, 0, 0, 0]]


def test_an_input_that_token_ids_do_not_determine_is_named() -> None:
    with pytest.raises(BadModelError, match="'pixel_values' cannot be made"):
        model_inputs(model_of(**IDS, pixel_values=([1, 3, 8, 8], "float32")), np.zeros((1, 4), np.int64))


@given(length=st.integers(2, 400), seq_len=st.integers(2, 50), most=st.integers(50, 300))
def test_windows_are_of_the_asked_length_within_the_budget_and_spread_over_the_text(length: int, seq_len: int, most: int) -> None:
    text = "".join(chr(200 + i) for i in range(length))
    windows = [s["input_ids"][0].tolist() for s in samples(text_dataset(text, letters, model_of(**IDS), seq_len=seq_len, max_tokens=most))]
    assert sum(map(len, windows)) <= most
    if length >= seq_len:
        assert {len(w) for w in windows} == {seq_len}
        assert len(windows) == min(length // seq_len, most // seq_len)
        starts = [w[0] - 200 for w in windows]
        assert starts[0] == 0
        assert all(a + seq_len <= b for a, b in itertools.pairwise(starts))
        assert starts[-1] >= (length - seq_len) * (len(windows) - 1) / len(windows) - 2 * seq_len
    else:
        assert windows == [letters(text)]


def test_every_window_opens_with_the_special_tokens_that_the_tokenizer_puts_first() -> None:
    windows = samples(text_dataset("abcdefgh", Tokenize(letters), model_of(**IDS), seq_len=4, max_tokens=100))
    assert [w["input_ids"][0].tolist() for w in windows] == [[1, *letters("abc")], [1, *letters("def")]]


def test_text_comes_from_a_file_too(tmp_path) -> None:
    (tmp_path / "text.txt").write_text("hello world", encoding="utf-8")
    for path in (tmp_path / "text.txt", str(tmp_path / "text.txt")):
        assert samples(text_dataset(path, letters, model_of(**IDS)))[0]["input_ids"][0].tolist() == letters("hello world")


def test_unreadable_or_too_short_text_is_told(tmp_path) -> None:
    model = model_of(**IDS)
    with pytest.raises(BadDatasetError, match="has 1 tokens; give a longer one"):
        text_dataset("x", letters, model)
    with pytest.raises(BadDatasetError, match="has 0 tokens"):
        text_dataset("", letters, model)
    with pytest.raises(BadDatasetError, match=r"no such text file: missing\.txt"):
        text_dataset("missing.txt", letters, model)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(BadDatasetError, match="cannot be read as UTF-8"):
        text_dataset(tmp_path / "binary", letters, model)
    with pytest.raises(UsageError, match="room for one window"):
        text_dataset("abc", letters, model, seq_len=64, max_tokens=32)


def test_own_text_needs_a_model_folder_and_genai(tmp_path, monkeypatch) -> None:
    with pytest.raises(BadModelError, match=r"has no openvino_model\.xml"):
        self_dataset(tmp_path)
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(MissingDependencyError, match=r"scap_ov\[genai\]"):
        self_dataset(tmp_path)


def test_token_sequences_may_differ_in_length() -> None:
    assert [s["attention_mask"].shape for s in samples(token_dataset([[1, 2], [3, 4, 5]], model_of(**DECODER)))] == [(1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("encode", "first"),
    [
        (lambda text, special: ([1] if special else []) + word_ids(text), [1]),
        (lambda text, special: [1, *word_ids(text)], [1]),
        (lambda text, special: [1, *word_ids(text)][:100], [1]),
        (lambda text, special: [1, *word_ids(text), 0], [1]),
        (lambda text, special: [*word_ids(text), 0], []),
        (lambda text, special: ([1] if special else []) + [2, *word_ids(text)], [1, 2]),
    ],
)
def test_special_tokens_that_come_unasked(encode, first):
    """They open every window, once, and stand nowhere else."""
    data = text_dataset("hello this is a text of words " * 40, Tokenize(encode), model_of(**IDS), seq_len=32, max_tokens=256)
    windows = [sample["input_ids"][0].tolist() for sample in data.get_inference_data()]
    assert len(windows) == 8
    for window in windows:
        assert window[: len(first)] == first
        assert min(window[len(first) :]) >= 3


def word_ids(text):
    return [ord(c) % 120 + 3 for c in text]


def test_padding_and_truncation_that_a_tokenizer_stores_are_left_out(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "a": 4, "b": 5}
    stored = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    stored.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    stored.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    for side in ("left", "right"):
        stored.enable_padding(length=128, direction=side, pad_id=3, pad_token="[PAD]")
        stored.enable_truncation(128)
        stored.save(str(tmp_path / "tokenizer.json"))
        encode = load_tokenizer(tmp_path)
        assert encode.prefix == (1,)
        assert encode("a b a") == [4, 5, 4]
        assert encode("a b " * 500) == [4, 5] * 500


def test_texts_are_cut_to_the_tokens_that_were_asked_for():
    texts = [[1] * 5, [2] * 5, [3] * 5]
    assert list(map(len, dataset._cut(texts, 12))) == [5, 5, 2]
    assert list(map(len, dataset._cut(texts, 11))) == [5, 5]  # a single token says nothing
    assert list(map(len, dataset._cut(texts, 99))) == [5, 5, 5]
