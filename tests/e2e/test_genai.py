"""openvino-genai runs the pruned model, in both attention back ends."""

from __future__ import annotations

import pytest
from decode_steps import EXACT

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
@pytest.mark.parametrize("weight_format", [pytest.param("fp16", marks=pytest.mark.real), "int8"])
def test_optimum_exports_name_paris(exported, weight_format):
    """The tokenizer of `gguf_to_hf` is right: transformers' own conversion shows as `Ġ` here."""
    (answer,) = ask(exported(weight_format), QUESTIONS[:1])
    assert answer.text == "The capital of France is Paris."
