"""The steps on openvino.Model: they leave the caller's model alone, and refuse what they cannot work on in one sentence."""

from __future__ import annotations

import nncf
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from pruned_layers import infer, one_site, plan_of
from small_llm import small_folder, small_llm

import scap_ov
from scap_ov.backends import backend_of, openvino
from scap_ov.errors import BadModelError, MismatchError, OutputError, UsageError

IDS = np.array([[3, 1, 4, 1, 5, 9]], np.int64)
FEEDS = {"input_ids": IDS, "attention_mask": np.ones_like(IDS), "position_ids": np.arange(6)[None], "beam_idx": np.zeros(1, np.int32)}


def kinds(model):
    return sorted(node.get_type_name() for node in model.get_ordered_ops())


def test_paths_and_models_have_the_same_backend(tmp_path):
    folder = small_folder(tmp_path / "m")
    for model in (folder, str(folder), folder / "openvino_model.xml", small_llm()):
        assert backend_of(model) is openvino
    with pytest.raises(UsageError, match=r"a model of type builtins\.int is not supported"):
        backend_of(3)


@pytest.mark.parametrize("form", ["portable", "lowered"])
def test_rewrite_leaves_the_callers_model_alone(form):
    llm = small_llm()
    before, expected = kinds(llm), infer(llm, FEEDS)[0]
    steps = []
    sparse = openvino.rewrite(llm, plan_of(llm, 0.5), form, {}, progress=lambda *step: steps.append(step))
    assert steps == [(n + 1, 9, "packing weights (sites)") for n in range(9)] * (form == "lowered")
    assert kinds(llm) == before
    np.testing.assert_array_equal(infer(llm, FEEDS)[0], expected)
    assert ("SparseMatMul" in kinds(sparse)) == (form == "lowered")


def test_the_record_says_what_became_of_every_site():
    llm = small_llm()
    plan = plan_of(llm, 0.5)
    summary = openvino.record(openvino.rewrite(llm, plan, "lowered", {"block.0.o": "it would lose"}))["summary"]
    states = {site["name"]: (site["state"], site["reason"]) for site in summary["sites"]}
    assert states.pop("block.0.o") == ("stock", "it would lose")
    assert set(states.values()) == {("lowered", "")}
    assert summary["form"] == "lowered"


def test_layers_that_are_no_site_are_in_the_record():
    llm = small_llm()
    plan = plan_of(llm, 0.5, lm_head=False)
    summary = openvino.record(openvino.rewrite(llm, plan, "portable", {}))["summary"]
    assert [reason for _, reason in summary["skipped"]] == ["it is the output projection; ask for it with lm_head"]


def test_bad_input_is_refused():
    llm = small_llm()
    plan = plan_of(llm, 0.5)
    with pytest.raises(UsageError, match="form is 'fast'; give lowered or portable"):
        openvino.rewrite(llm, plan, "fast", {})
    other = small_llm("u4")
    with pytest.raises(MismatchError, match="belongs to another model"):
        openvino.check_plan(other, plan)
    with pytest.raises(MismatchError, match="belongs to another model"):
        openvino.rewrite(other, plan, "portable", {})
    sparse = openvino.rewrite(llm, plan, "portable", {})
    with pytest.raises(BadModelError, match="is sparse already; give the stock model"):
        openvino.check_stock(sparse)
    x = ops.parameter([1, 4], np.float32, name="x")
    with pytest.raises(BadModelError, match="has no fully connected layer"):
        openvino.find(ov.Model([ops.result(ops.relu(x))], [x], "m"), scap_ov.SparsityConfig())


def test_a_model_of_nothing_but_skipped_layers_says_why():
    x = ops.parameter(ov.PartialShape([-1, -1, 8]), np.float32, name="x")
    layer = ops.matmul(x, np.ones((4, 8, 8), np.float32), False, True)
    layer.set_friendly_name("experts")
    with pytest.raises(BadModelError, match=r"could be pruned \(experts: its weight is batched"):
        openvino.find(ov.Model([ops.result(ops.relu(layer))], [x], "m"), scap_ov.SparsityConfig())


@pytest.mark.parametrize("form", ["portable", "lowered"])
def test_what_is_saved_is_read_back(form, tmp_path):
    llm = small_llm()
    sparse = openvino.rewrite(llm, plan_of(llm, 0.5, center=0.1, dynamic_quantization=False, fuse_blocks=False), form, {})
    expected = infer(sparse, FEEDS)[0]
    openvino.save(sparse, tmp_path / "m")
    core = ov.Core()
    if form == "lowered":
        scap_ov.register(core)
    again = core.read_model(tmp_path / "m" / "openvino_model.xml")
    np.testing.assert_array_equal(infer(again, FEEDS, core)[0], expected)
    assert openvino.record(again) == openvino.record(sparse)


def test_saving_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    built = one_site(["f16"], [8], 16)
    with pytest.raises(OutputError, match=r"saving to .* failed"):
        openvino.save(built.model, tmp_path / "file" / "m.xml")


def test_apply_on_a_model_object_with_a_dataset():
    llm = small_llm("f16")
    samples = [{**FEEDS, "input_ids": np.random.default_rng(seed).integers(0, 128, (1, 6))} for seed in range(3)]
    config = scap_ov.SparsityConfig(
        target_sparsity=0.5, method="scap", rows="all", replace="always", dynamic_quantization=False, drift_correction=False
    )
    portable, lowered = (scap_ov.apply(llm, nncf.Dataset(samples), config, form=form) for form in ("portable", "lowered"))
    one, two = infer(portable, FEEDS)[0], infer(lowered, FEEDS)[0]
    np.testing.assert_allclose(two, one, atol=1e-4 * np.abs(one).max())
    stock = infer(llm, FEEDS)[0]
    assert np.abs(one - stock).max() > 1e-2 * np.abs(stock).max()
