"""Complete model folders that pipelines of openvino-genai run: a small Llama with levels and its stock model, with a tokenizer of words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import openvino as ov
import pytest
from decode_steps import EXACT
from level_models import levels_plan
from made_once import made_once

import scap_ov
from scap_ov.backends.openvino import rewrite
from scap_ov.sample_models.random_llm import Shape, build

SHAPE = Shape("words", layers=2, hidden=64, ffn=96, heads=4, kv_heads=2, vocabulary=128)
PROMPT = "w5 w17 w9 w33 w80 w5 w17 w9 w12"
TEMPLATE = "{% for message in messages %}w3 {{ message['content'] }} {% endfor %}"
PROPERTIES = {name: value for name, value in EXACT.items() if name != "PERFORMANCE_HINT"}


def word_tokenizers(special: str | None = None) -> tuple[ov.Model, ov.Model]:
    """A tokenizer and a detokenizer of the words `w0` to `w127`.

    :param special: a token that stands for the last of them, such as `<image>`.
    """
    import openvino_tokenizers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    last = SHAPE.vocabulary - (special is not None)
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(last)}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w2", pad_token="w1", chat_template=TEMPLATE)
    if special is not None:
        tokenizer.add_special_tokens({"additional_special_tokens": [special]})
    return openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True)


def write_tokenizers(folder: Path, special: str | None = None) -> None:
    """Those of `word_tokenizers`, under the names that pipelines look for."""
    for part, name in zip(word_tokenizers(special), ("tokenizer", "detokenizer"), strict=True):
        ov.save_model(part, folder / f"openvino_{name}.xml")


def write_levels(place: Path, file: str) -> None:
    """Beside the folder `stock`, one like it, `levels`, in which one of its models is pruned and holds levels."""
    like = place / "stock" / file
    model = ov.Core().read_model(like)
    scap_ov.save_model(rewrite(model, levels_plan(model), "lowered", {}), place / "levels", like=like)


def exported(name: str, test: str, export: Callable[[Path], None]) -> Path:
    """Folders that a test exports, made once.

    :param test: its file.
    """
    pytest.importorskip("optimum.intel")
    pytest.importorskip("openvino_genai")
    helpers = [Path(__file__), *(Path(__file__).with_name(f"{own}.py") for own in ("level_models", "torch_weights"))]
    return made_once(name, [Path(test), *helpers], export)


def language_models() -> Path:
    """Folders `stock` and `levels` (0, 0.25, 0.5; activations not quantised, so that texts can be compared), made once."""

    def make(place: Path) -> None:
        stock = build(SHAPE, "i8", SHAPE.layers)
        folder = place / "stock"
        scap_ov.save_model(stock, folder)
        write_tokenizers(folder)
        (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
        (folder / "generation_config.json").write_text('{"eos_token_id": 2, "pad_token_id": 1}')
        scap_ov.save_model(rewrite(stock, levels_plan(stock, graded=True), "lowered", {}), place / "levels", like=folder)

    return made_once("pipelines", [SHAPE, TEMPLATE, Path(__file__), Path(__file__).with_name("level_models.py")], make)
