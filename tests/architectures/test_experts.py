"""Rows with routed experts: they go back bit for bit, no expert that a token does not use is computed, and the runtimes generate."""

from __future__ import annotations

import collections
import shutil

import numpy as np
import openvino as ov
import pytest
from architectures.feeds import answers, compile_exactly, random_ids
from architectures.rows import BLOCKS, MIXTURES
from decode_steps import EXACT

import scap_ov
from scap_ov.passes.openvino.lowering import raise_
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity

pytestmark = pytest.mark.slow
ROUTED = [pytest.param(row, row.files[0], id=row.name) for row in MIXTURES if not row.refused]
PROMPT = (5, 9, 77, 31)


def count(compiled, kind):
    """How often the CPU plugin runs a kind of node."""
    nodes = compiled.get_runtime_model().get_ops()
    return collections.Counter(str(node.get_rt_info()["layerType"].astype(str)) for node in nodes)[kind]


@pytest.mark.covers_row("raise_")
@pytest.mark.parametrize(("row", "file"), ROUTED)
def test_raise_is_bit_exact_and_gives_back_what_the_plugin_recognises(row, file, pruned):
    stock, portable, lowered = pruned(row, file)
    assert [node.get_type_name() for node in lowered.get_ops()].count("SparseExperts") == len(BLOCKS)
    assert count(compile_exactly(lowered), "GatherMatmul") == 0
    again, ids = raise_(lowered.clone()).model, random_ids(1, 9, 3)
    one, two = (answers(compile_exactly(model), ids) for model in (portable, again))
    np.testing.assert_array_equal(one, two)
    plain = compile_exactly(RemoveSparsity()(again).model)
    products = len(row.sites[file]["block.0.expert_up"]) + 1
    assert count(plain, "GatherMatmul") == count(compile_exactly(stock), "GatherMatmul") == products * len(BLOCKS)
    np.testing.assert_array_equal(answers(plain, ids), answers(compile_exactly(stock), ids))


@pytest.fixture(scope="module")
def folders(pruned, exports, tmp_path_factory):
    """A function from row and file to model folders (portable, lowered) with a tokenizer of words `w0` to `w255`; made once."""
    openvino_tokenizers = pytest.importorskip("openvino_tokenizers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({f"w{i}": i for i in range(256)}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w2")
    parts = openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True)
    made = {}

    def folder(row, file):
        if row.name not in made:
            made[row.name] = []
            for model in pruned(row, file)[1:]:
                path = tmp_path_factory.mktemp(row.name)
                for config in exports[row.name].glob("*.json"):
                    shutil.copy(config, path)
                scap_ov.save_model(model, path)
                for part, name in zip(parts, ("tokenizer", "detokenizer"), strict=True):
                    ov.save_model(part, path / f"openvino_{name}.xml")
                made[row.name].append(path)
        return made[row.name]

    return folder


@pytest.mark.covers_row("openvino-genai")
@pytest.mark.parametrize("backend", ["PA", "SDPA"])
@pytest.mark.parametrize(("row", "file"), ROUTED)
def test_generates_in_openvino_genai(row, file, folders, backend):
    import openvino_genai

    library = str(scap_ov.extension_path())
    texts = []
    for folder in folders(row, file):
        pipeline = openvino_genai.LLMPipeline(str(folder), "CPU", ATTENTION_BACKEND=backend, extensions=[library], **EXACT)
        prompt = " ".join(f"w{token}" for token in PROMPT)
        texts.append(pipeline.generate(prompt, max_new_tokens=8, do_sample=False, ignore_eos=True))
    assert texts[0] == texts[1]
    assert len(texts[0].split()) > 4  # a special token among the eight is not written


@pytest.mark.covers_row("optimum-intel")
@pytest.mark.parametrize(("row", "file"), ROUTED)
def test_generates_in_optimum_intel(row, file, folders):
    torch = pytest.importorskip("torch")
    from optimum.intel import OVModelForCausalLM
    from optimum.intel.openvino import modeling_base

    scap_ov.register(modeling_base.core)
    ids = []
    for folder in folders(row, file):
        model = OVModelForCausalLM.from_pretrained(folder, ov_config={name: str(value) for name, value in EXACT.items()})
        ids.append(model.generate(torch.tensor([PROMPT]), max_new_tokens=8, min_new_tokens=8, do_sample=False)[0].tolist())
    assert ids[0] == ids[1]
    assert len(ids[0]) == len(PROMPT) + 8
