"""openvino-genai runs the pruned model, in both attention back ends."""

from __future__ import annotations

import pytest
from decode_steps import EXACT
from smollm2 import BLOCKS

import scap_ov
from scap_ov.cli.chat import QUESTIONS, ask


def test_stock_light_road_names_paris(whole_folder):
    (answer,) = ask(whole_folder, QUESTIONS[:1])
    assert answer.text == "The capital of France is Paris."


@pytest.mark.parametrize("backend", ["PA", "SDPA"])
def test_where_nothing_is_dropped_the_op_writes_what_stock_writes(stock_folder, unpruned_folder, backend):
    library = str(scap_ov.extension_path())
    stock = ask(stock_folder, QUESTIONS, max_new_tokens=24, ATTENTION_BACKEND=backend, **EXACT)
    lowered = ask(unpruned_folder, QUESTIONS, library=library, max_new_tokens=24, ATTENTION_BACKEND=backend, **EXACT)
    assert [a.text for a in stock] == [a.text for a in lowered]
    assert all(a.text.strip() for a in stock)


@pytest.mark.parametrize("backend", ["PA", "SDPA"])
def test_both_forms_write_the_same(stock_folder, lowered_folder, portable_folder, backend):
    """Longer texts of the two may part: rounding decides on which side of the threshold a value falls, once in some thousands."""
    library = str(scap_ov.extension_path())
    stock, lowered, portable = (
        [answer.text for answer in ask(folder, QUESTIONS, library=library, max_new_tokens=6, ATTENTION_BACKEND=backend, **EXACT)]
        for folder in (stock_folder, lowered_folder, portable_folder)
    )
    assert lowered == portable != stock


@pytest.mark.slow
def test_the_tokenizer_of_optimums_export_is_that_of_the_gguf_file(exported, stock_folder):
    """The tokenizer of `gguf_to_hf` is right: transformers' own conversion shows as `Ġ` here."""
    genai = pytest.importorskip("openvino_genai")
    ours, theirs = genai.Tokenizer(str(exported("fp16", BLOCKS))), genai.Tokenizer(str(stock_folder))
    for text in (*QUESTIONS, "  two spaces, déjà vu, 12345 and a\nnew line\t"):
        ids = ours.encode(text, add_special_tokens=False).input_ids.data
        assert ids.tolist() == theirs.encode(text, add_special_tokens=False).input_ids.data.tolist()
        assert ours.decode(ids[0].tolist()) == theirs.decode(ids[0].tolist())
        assert "Ġ" not in ours.decode(ids[0].tolist())


@pytest.mark.real
@pytest.mark.parametrize("weight_format", ["fp16", "int8"])
def test_optimum_exports_name_paris(exported, weight_format):
    (answer,) = ask(exported(weight_format), QUESTIONS[:1])
    assert answer.text == "The capital of France is Paris."
