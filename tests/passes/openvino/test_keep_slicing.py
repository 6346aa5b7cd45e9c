"""A pruned output projection is one that openvino-genai slices before; rules of keep_slicing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from decode_steps import EXACT
from openvino import opset13 as ops
from pipeline_folders import PROMPT, PROPERTIES, language_models
from small_llm import small_llm

import scap_ov
from scap_ov.custom_ops import OP_NAME
from scap_ov.models.genai import BACKENDS, open_pipeline
from scap_ov.models.inputs import Inputs
from scap_ov.passes.openvino import keep_slicing
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lowering import lower, raise_
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import SiteKind
from scap_ov.storage.model_folder import read_model

IDS = np.arange(1, 13, dtype=np.int64)[None]


def with_pruned_head(model: ov.Model, threshold: float = 0.1, whole: float = 0.5) -> ov.Model:
    sites = tuple(match.site for match in find_sites(model, lm_head=True).some())
    head = next(site.name for site in sites if site.kind is SiteKind.LM_HEAD)
    entry = SitePlan(head, np.array([threshold], np.float32), np.zeros(1, np.float32), 0.3, None, np.array([whole], np.float32))
    config = scap_ov.SparsityConfig(lm_head=True, max_sparse_rows=1, dynamic_quantization=False)
    plan = SparsityPlan(config, fingerprint(model), sites, {head: entry})
    inserted = InsertSparsity(plan)(model).model
    return lower(inserted, dynamic_quantization=False).model


@pytest.fixture
def lowered() -> ov.Model:
    return with_pruned_head(small_llm("i8"))


def projection(model: ov.Model) -> ov.Node:
    (op,) = (node for node in model.get_ordered_ops() if node.get_type_name() == OP_NAME)
    return op


def logits(model: ov.Model, device: str = "CPU", **properties: str) -> np.ndarray:
    core = ov.Core()
    scap_ov.register(core)
    request = core.compile_model(model, device, EXACT | properties).create_infer_request()
    request.infer(Inputs(model).for_tokens(IDS))
    return request.get_tensor("logits").data.copy()


def test_rule_1_the_projection_is_marked_and_logits_stay_the_first_output(lowered: ov.Model) -> None:
    stock = small_llm("i8")
    assert [output.get_names() for output in lowered.outputs] == [output.get_names() for output in stock.outputs]
    assert projection(lowered).get_attributes()["projection"]
    assert projection(lowered).get_attributes()["version"] == keep_slicing.VERSION
    assert not keep_slicing.KeepSlicing()(lowered).modified  # rule 2
    assert not keep_slicing.KeepSlicing()(stock).modified  # a dense one is a MatMul


@pytest.mark.slow  # transformers makes the tokenizer
@pytest.mark.parametrize("backend", BACKENDS)
def test_genai_computes_one_row_of_logits_of_a_prompt(tmp_path: Path, backend: str) -> None:
    """The projection drops every channel of a step of one row, and gives zeros there: token 0. Longer steps are dense."""
    stock = language_models() / "stock"
    model = with_pruned_head(read_model(stock), threshold=1e9, whole=1e9)
    scap_ov.save_model(model, tmp_path / "marked", like=stock)
    projection(model).set_attribute("projection", False)
    scap_ov.save_model(model, tmp_path / "plain", like=stock)
    library = str(scap_ov.extension_path())

    def tokens(folder: Path) -> list[int]:
        pipeline = open_pipeline(folder, backend, library, **PROPERTIES)
        return pipeline.generate(ov.Tensor(IDS), max_new_tokens=3, ignore_eos=True).tokens[0]

    first = tokens(stock)[0]
    assert first
    assert tokens(tmp_path / "plain") == [first, 0, 0]
    assert tokens(tmp_path / "marked") == [0, 0, 0]


@pytest.mark.slow  # transformers makes the tokenizer
@pytest.mark.parametrize("backend", BACKENDS)
def test_with_a_dense_projection_the_text_is_that_of_the_stock_model(tmp_path: Path, backend: str) -> None:
    stock = language_models() / "stock"
    scap_ov.save_model(with_pruned_head(read_model(stock), threshold=-1, whole=-1), tmp_path / "dense", like=stock)
    texts = [
        open_pipeline(folder, backend, str(scap_ov.extension_path()), **PROPERTIES).generate(PROMPT, max_new_tokens=8, ignore_eos=True)
        for folder in (stock, tmp_path / "dense")
    ]
    assert texts[0] == texts[1]


def test_every_device_and_the_cache_give_the_same_logits(lowered: ov.Model, tmp_path: Path) -> None:
    scap_ov.save_model(lowered, tmp_path / "model.xml")
    model = read_model(tmp_path / "model.xml")
    expected = logits(lowered)
    for device in ("CPU", "AUTO:CPU", "HETERO:CPU"):
        np.testing.assert_array_equal(logits(model, device), expected, device)
    for _ in range(2):
        np.testing.assert_array_equal(logits(model, CACHE_DIR=str(tmp_path / "cache")), expected)
    assert list((tmp_path / "cache").iterdir())


def test_the_mark_outlives_copies_and_files(lowered: ov.Model, tmp_path: Path) -> None:
    ov.save_model(lowered.clone(), tmp_path / "model.xml")
    assert projection(read_model(tmp_path / "model.xml")).get_attributes()["projection"]


def test_the_way_back(lowered: ov.Model) -> None:
    raised = raise_(lowered).model
    assert "logits" in raised.outputs[0].get_names()
    assert all(node.get_type_name() != OP_NAME for node in raised.get_ordered_ops())


def test_files_of_before_lose_their_product_with_the_identity(lowered: ov.Model) -> None:
    """Earlier versions wrote it, as the first output: ADR 0027."""
    op = projection(lowered)
    hidden = op.input_value(0)
    product = ops.matmul(hidden, ops.constant(np.eye(hidden.get_partial_shape()[-1].get_length(), dtype=np.float32)), False, False)
    product.set_friendly_name(keep_slicing.HIDDEN)
    op.input(0).replace_source_output(product.output(0))
    results = lowered.get_results()
    for result in results:
        lowered.remove_result(result)
    lowered.add_results([ops.result(product), *results])
    raised = raise_(lowered).model
    assert len(raised.outputs) == len(results)
    assert "logits" in raised.outputs[0].get_names()
    assert not any(node.get_friendly_name() == keep_slicing.HIDDEN for node in raised.get_ordered_ops())
