"""optimum-intel and what stands on it, after one call: generate, transformers' pipeline, feature extraction, lm-eval."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from level_models import levels_plan
from made_once import made_once
from pipeline_folders import PROPERTIES, SHAPE, TEMPLATE, language_models

import scap_ov
from scap_ov.backends.openvino import rewrite

pytestmark = pytest.mark.slow  # torch
OPTIONS = {name: str(value) for name, value in PROPERTIES.items()}
IDS = [[5, 17, 9, 33, 80, 5, 17]]
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": SHAPE.hidden, "num_hidden_layers": SHAPE.layers,
          "num_attention_heads": SHAPE.heads, "num_key_value_heads": SHAPE.kv_heads, "intermediate_size": SHAPE.ffn,
          "vocab_size": SHAPE.vocabulary}  # fmt: skip


def words():
    """The tokenizer of `word_tokenizers`, for transformers."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(WordLevel({f"w{i}": i for i in range(SHAPE.vocabulary)}, unk_token="w0"))
    inner.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="w0", eos_token="w2", pad_token="w1", chat_template=TEMPLATE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """The folders of `language_models` with what transformers reads."""
    pytest.importorskip("optimum.intel")
    place = tmp_path_factory.mktemp("optimum")
    for name in ("stock", "levels"):
        (place / name).mkdir()
        for file in (language_models() / name).iterdir():
            (place / name / file.name).symlink_to(file)
        (place / name / "config.json").unlink()
        (place / name / "config.json").write_text(json.dumps(CONFIG))
        words().save_pretrained(place / name)
    return place


@pytest.fixture(scope="module")
def models(folders):
    from optimum.intel import OVModelForCausalLM
    from optimum.intel.openvino import modeling_base

    scap_ov.register(modeling_base.core)
    return {name: OVModelForCausalLM.from_pretrained(folders / name, ov_config=OPTIONS) for name in ("stock", "levels")}


def test_generate_and_the_dial(models) -> None:
    import torch

    def ids(name: str) -> list[int]:
        return models[name].generate(torch.tensor(IDS), max_new_tokens=10, min_new_tokens=10, do_sample=False)[0].tolist()

    scap_ov.set_level(0, "levels")
    dense = ids("levels")
    assert dense == ids("stock")
    scap_ov.set_level(0.5, "levels")
    assert ids("levels") != dense


def test_the_pipeline_of_transformers(models) -> None:
    from transformers import pipeline

    scap_ov.set_level(0, "levels")
    found = [
        pipeline("text-generation", model=models[name], tokenizer=words())("w5 w17 w9", max_new_tokens=6, do_sample=False)[0][
            "generated_text"
        ]
        for name in ("stock", "levels")
    ]
    assert found[0] == found[1]


def export_encoders(place: Path) -> None:
    """A small BERT for embeddings, and a RoBERTa that ranks, with stock and pruned folders of each."""
    import torch
    import transformers
    from optimum.exporters.openvino import export_from_model
    from pipeline_folders import word_tokenizers

    options = {"vocab_size": SHAPE.vocabulary, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    torch.manual_seed(0)
    embed = transformers.BertModel(transformers.BertConfig(**options))
    rank = transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**options, num_labels=1, pad_token_id=1))
    for name, model, task in (("embedding", embed, "feature-extraction"), ("rerank", rank, "text-classification")):
        stock = place / name
        export_from_model(model.eval(), output=stock, task=task)
        words().save_pretrained(stock)
        ov.save_model(word_tokenizers()[0], stock / "openvino_tokenizer.xml")
        opened = ov.Core().read_model(stock / "openvino_model.xml")
        sparse = rewrite(opened, levels_plan(opened, rows="all"), "lowered", {})
        scap_ov.save_model(sparse, place / f"{name}-levels", like=stock)


@pytest.fixture(scope="module")
def encoders() -> Path:
    pytest.importorskip("optimum.intel")
    return made_once("encoders", [Path(__file__), Path(__file__).parents[1] / "level_models.py"], export_encoders)


def test_feature_extraction(encoders) -> None:
    import torch
    from optimum.intel import OVModelForFeatureExtraction
    from optimum.intel.openvino import modeling_base

    scap_ov.register(modeling_base.core)
    hidden = {}
    for name in ("embedding", "embedding-levels"):
        model = OVModelForFeatureExtraction.from_pretrained(encoders / name, ov_config=OPTIONS)
        for level in (0, 0.5) if name.endswith("levels") else (None,):
            if level is not None:
                scap_ov.set_level(level, "embedding-levels")
            values = model(input_ids=torch.tensor(IDS), attention_mask=torch.ones(1, len(IDS[0]), dtype=torch.int64))
            hidden[name, level] = np.array(values.last_hidden_state)
    stock = hidden["embedding", None]
    assert np.abs(hidden["embedding-levels", 0] - stock).max() < 1e-4 * np.abs(stock).max()
    assert np.abs(hidden["embedding-levels", 0.5] - stock).max() > 1e-3 * np.abs(stock).max()


def test_embedding_and_reranking_pipelines_of_genai(encoders) -> None:
    texts = ["w5 w17 w9 w33", "w44 w91 w7", "w60 w61"]
    embedded = {name: scap_ov.open_pipeline(encoders / name, "embedding", **PROPERTIES) for name in ("embedding", "embedding-levels")}
    scap_ov.set_level(0, "embedding-levels")
    expected = np.array(embedded["embedding"].embed_documents(texts))
    assert np.allclose(embedded["embedding-levels"].embed_documents(texts), expected, atol=1e-4)
    scap_ov.set_level(0.5, "embedding-levels")
    assert np.abs(np.array(embedded["embedding-levels"].embed_documents(texts)) - expected).max() > 1e-3
    ranked = {name: scap_ov.open_pipeline(encoders / name, "rerank", **PROPERTIES) for name in ("rerank", "rerank-levels")}
    scap_ov.set_level(0, "rerank-levels")
    one, two = (dict(ranked[name].rerank("w5 w9", texts)) for name in ("rerank", "rerank-levels"))
    assert one.keys() == two.keys()
    assert all(abs(one[key] - two[key]) < 1e-4 for key in one)


def test_lm_eval_on_a_local_task(folders, tmp_path) -> None:
    """`lm_eval` cannot register the library by itself; the recipe of docs/pipelines.md does, and SCAP_OV_ROWS and SCAP_OV_LEVEL count."""
    pytest.importorskip("lm_eval")
    rows = [
        {"context": "w5 w17 w9", "choices": ["w33 w80", "w12 w7"], "gold": 0},
        {"context": "w44 w91", "choices": ["w7", "w60"], "gold": 1},
    ]
    (tmp_path / "words.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "words.yaml").write_text(
        f"task: words\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {tmp_path / 'words.jsonl'}\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: '{{context}}'\ndoc_to_choice: '{{choices}}'\ndoc_to_target: gold\n"
        "metric_list:\n  - metric: acc\n"
    )
    code = "import sys; from scap_ov.lm_eval import main; main(sys.argv[1:])"
    command = [
        sys.executable,
        "-Ic",
        code,
        "--model_args",
        f"pretrained={folders / 'levels'}",
        "--tasks",
        "words",
        "--include_path",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "acc" in done.stdout
