"""What was lowered comes back bit for bit; tests answer to RaiseSparseMatMul's rules."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from pruned_layers import assert_close, infer, one_site, plan_of, reference
from small_llm import small_llm
from weight_forms import FORMS, PER_CHANNEL

from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.raise_sparse_matmul import RaiseSparseMatMul
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity
from scap_ov.passes.rules.match_pattern import match_patterns

K, N = 256, 100
CENTERS = np.random.default_rng(2).normal(0, 0.3, K).astype(np.float32)


def raised(built, **plan):
    """(portable, raised) of a site."""
    portable = InsertSparsity(plan_of(built.model, 0.5, **plan))(built.model.clone()).model
    result = RaiseSparseMatMul()(LowerSparseMatMul(dynamic_quantization=False)(portable.clone()).model)
    assert result.modified
    return portable, result.model


def weights_of(model):
    RemoveSparsity()(model)
    return {
        layer.name: w
        for match in find_sites(model, lm_head=True).matches
        for layer, w in zip(match.site.layers, match.weights, strict=True)
    }


def check_bits(built, model):
    found = weights_of(model)
    assert len(found) == len(built.weights)
    for number, stored in enumerate(built.weights):
        weight = found[f"layers.0.layer{number}"]
        raw = weight.raw()
        assert weight.spec.dtype == stored.form.dtype
        assert weight.spec.group_size == stored.form.spec(weight.k).group_size
        np.testing.assert_array_equal((raw.astype(np.uint32) << 16).view(np.float32) if stored.form.dtype == "bf16" else raw, stored.raw)
        for mine, theirs in ((weight.scale, stored.scale), (weight.zero_point, stored.zero)):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", FORMS)
def test_rule_1_raw_values_come_back(name):
    built = one_site([name, name], [N, 40], K)
    _, model = raised(built)
    check_bits(built, model)


@pytest.mark.parametrize("name", PER_CHANNEL)
def test_rule_1_odd_sizes(name):
    built = one_site([name], [1001], 577)
    _, model = raised(built)
    check_bits(built, model)


def test_rule_1_mixed_types():
    built = one_site(["i4-g32", "i8", "f16", "u4-g32-zp", "i8-bf16", "i4-g32"], [8, 16, 24, 32, 40, 48], K)
    _, model = raised(built, center=CENTERS, compensation=np.ones)
    check_bits(built, model)


def test_rule_1_bf16_scales_come_back_as_f32():
    built = one_site(["i4-g32-bf16"], [N], K)
    _, model = raised(built)
    assert next(iter(weights_of(model).values())).spec.scale_dtype == "f32"


@pytest.mark.parametrize("name", ["u4-g32-zp", "i4-g32-by-input", "i8", "f16-by-input"])
def test_rule_2_the_chain_is_optimums(name):
    _, model = raised(one_site([name], [N], K))
    (layer,) = (node for node in model.get_ops() if node.get_type_name() == "MatMul")
    assert layer.get_attributes() == {"transpose_a": False, "transpose_b": True}
    chain, node = [], layer.input_value(1).get_node()
    while node.get_type_name() != "Constant":
        chain.append(node.get_type_name())
        node = node.input_value(0).get_node()
    expected = {
        "u4-g32-zp": ["Convert", "Reshape", "Multiply", "Subtract", "Convert"],
        "i4-g32-by-input": ["Convert", "Reshape", "Multiply", "Convert"],
        "i8": ["Convert", "Multiply", "Convert"],
        "f16-by-input": ["Convert"],
    }
    assert chain == expected[name]


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_rule_1_the_ramp_comes_back(rows):
    portable, model = raised(one_site(["i8"], [N], K), center=CENTERS, rows=rows, ramp=0.3)
    for each in (portable, model):
        (pattern,) = match_patterns(each)
        assert pattern.ramp == pytest.approx(0.3)
        assert pattern.rows == rows


def test_rule_3_layers_and_outputs_get_their_names_back():
    built = one_site(["i8", "f16"], [N, 40], K)
    portable, model = raised(built)
    names = sorted(node.get_friendly_name() for node in model.get_ops() if node.get_type_name() == "MatMul")
    assert names == ["layers.0.layer0", "layers.0.layer1"]
    assert [o.get_names() for o in model.outputs] == [o.get_names() for o in portable.outputs] == [{"y0"}, {"y1"}]


def test_rule_3_an_op_that_was_renamed_gets_names_made_up():
    built = one_site(["i8", "i8"], [N, 40], K)
    lowered = LowerSparseMatMul()(InsertSparsity(plan_of(built.model, 0.5))(built.model).model).model
    next(node for node in lowered.get_ops() if node.get_type_name() == "SparseMatMul").set_friendly_name("other")
    RaiseSparseMatMul()(lowered)
    assert sorted(n.get_friendly_name() for n in lowered.get_ops() if n.get_type_name() == "MatMul") == ["other.0", "other.1"]


def test_rule_4_ops_of_one_site_share_one_pattern():
    _, model = raised(one_site(["i8", "f16", "i4-g32"], [N, 40, 24], K), compensation=np.ones)
    (pattern,) = match_patterns(model)
    assert len(pattern.layers) == 3


@pytest.mark.parametrize("rows", ["decode", "all"])
@pytest.mark.parametrize("compensation", [None, lambda n: np.linspace(-1, 1, n)], ids=["none", "compensated"])
@pytest.mark.parametrize("center", [0.0, CENTERS], ids=["none", "channels"])
def test_the_raised_form_gives_what_the_portable_one_gives(rows, compensation, center):
    built = one_site(["i8", "i4-g32"], [N, 40], K)
    portable, model = raised(built, rows=rows, compensation=compensation, center=center, max_sparse_rows=3)
    for lead in ((1, 1), (1, 3), (2, 4)):
        x = np.random.default_rng(1).standard_normal((*lead, K)).astype(np.float32)
        for number, (a, b) in enumerate(zip(infer(portable, [x]), infer(model, [x]), strict=True)):
            _, tolerance = reference(x, built.weights[number].dense, -1, center, np.zeros(lead, bool))
            assert_close(b, a, tolerance, f"layer {number}, x of {lead}")
    (one,), (two,) = match_patterns(portable), match_patterns(model)
    assert (one.rows, one.max_sparse_rows) == (two.rows, two.max_sparse_rows)
    np.testing.assert_array_equal(one.threshold, two.threshold)
    np.testing.assert_array_equal(one.center, two.center)


def test_a_second_run_changes_nothing():
    _, model = raised(one_site(["i8"], [N], K))
    count = len(model.get_ops())
    assert not RaiseSparseMatMul()(model).modified
    assert len(model.get_ops()) == count


def test_no_library_is_needed(monkeypatch):
    built = one_site(["i8"], [N], K)
    lowered = LowerSparseMatMul()(InsertSparsity(plan_of(built.model, 0.5))(built.model).model).model
    monkeypatch.setenv("SCAP_OV_EXTENSION", "/nowhere/lib.so")
    assert RaiseSparseMatMul()(lowered).modified


@pytest.mark.parametrize("weights", ["i4_g32", "u4", "f16"])
def test_a_whole_model_there_and_back(weights, tmp_path):
    """Stock -> portable -> lowered -> file -> raised -> stock: the same logits as before, weights bit for bit."""
    import scap_ov

    llm = small_llm(weights)
    before = weights_of(llm.clone())
    ids = np.array([[3, 1, 4, 1, 5, 9]], np.int64)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(6)[None], "beam_idx": np.zeros(1, np.int32)}
    stock = infer(llm, feeds)[0]
    lowered = LowerSparseMatMul()(InsertSparsity(plan_of(llm, 0.5, center=0.01))(llm).model).model
    ov.save_model(lowered, tmp_path / "m.xml", compress_to_fp16=False)  # norms would be rounded to f16 as well
    core = ov.Core()
    scap_ov.register(core)
    again = core.read_model(tmp_path / "m.xml")
    RaiseSparseMatMul()(again)
    after = weights_of(again)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert weight.spec == after[name].spec
        np.testing.assert_array_equal(weight.raw(), after[name].raw())
    np.testing.assert_allclose(infer(again, feeds)[0], stock, atol=1e-5 * np.abs(stock).max())
