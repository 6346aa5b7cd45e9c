"""Routed experts that are read by half: the arithmetic of the portable form, the op beside it, and the way back bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from expert_blocks import CLAMPED, experts_model, tokens
from pruned_layers import infer, plan_of, vector

import scap_ov
from scap_ov.backends.openvino import rewrite
from scap_ov.passes.openvino import experts_op
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.half_reads import missed
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.level_blocks import name_model
from scap_ov.passes.openvino.lower_experts import LowerExperts
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.lowering import insert_and_lower, raise_
from scap_ov.passes.openvino.match_experts import match_experts
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity
from scap_ov.sample_models.random_llm import Shape, build

LOW, HIGH, CENTER = 0.3, 1.0, 0.05
CLOSE = 2e-6


def graded(model, names=None, whole=HIGH, **config):
    """A plan that reads both places by grades, or those that are named."""
    plan = plan_of(model, LOW, center=CENTER, **config)
    chosen = list(plan.entries) if names is None else names
    return replace(plan, entries=plan.entries | {name: replace(plan.entries[name], whole_threshold=vector(whole)) for name in chosen})


def portable_of(built, **config):
    return InsertSparsity(graded(built.model, **config))(built.model.clone()).model


def lowered_of(portable):
    result = LowerExperts(dynamic_quantization=False)(portable.clone())
    assert result.skipped == []
    return result.model


def answer(built, x, scores):
    """y of the portable form in float64, every token pruned."""
    up, down = find_sites(built.model).matches
    lost = [missed(w).reshape(len(built.down), -1, w.k).astype(np.float64) for match in (up, down) for w in match.weights]

    def read(values, weight, missing):
        change = values - np.float64(np.float32(CENTER))
        half = (np.abs(change) > np.float32(LOW)) & (np.abs(change) <= np.float32(HIGH))
        kept = np.where(np.abs(change) > np.float32(LOW), values, np.float32(CENTER))
        return weight @ kept - missing @ np.where(half, change, 0)

    flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
    ids = np.argsort(-scores, axis=1, kind="stable")[:, : built.used]
    routing = np.exp(np.take_along_axis(scores, ids, 1).astype(np.float64))
    routing /= routing.sum(1, keepdims=True)
    y = np.zeros((len(flat), built.down.shape[1]))
    for t, row in enumerate(flat):
        for j, e in enumerate(ids[t]):
            hidden = built._gated([read(row, w[e], r[e]) for w, r in zip(built.up, lost, strict=False)], e)
            own = read(hidden, built.down[e], lost[-1][e])
            y[t] += routing[t, j] * (own + (0 if built.biases[1] is None else built.biases[1][e]))
    return y


def close(actual, expected):
    return np.abs(np.asarray(actual).reshape(expected.shape) - expected).max() <= CLOSE * np.abs(expected).max()


@pytest.mark.parametrize("form", ["i8", "u8"])
@pytest.mark.parametrize("clamped", [False, True])
def test_both_forms_give_what_float64_gives(form, clamped):
    built = experts_model(form, activation=CLAMPED if clamped else None, biased=clamped, k=160, n=144)
    portable = portable_of(built)
    lowered = lowered_of(portable)
    for shape in ((1, 1), (3, 1)):
        inputs = tokens(*shape, k=160)
        expected = answer(built, *inputs)
        assert not close(infer(built.model, inputs)[0], expected), "grades change nothing here"
        assert close(infer(portable, inputs)[0], expected), shape
        assert close(infer(lowered, inputs)[0], expected), shape


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_the_same_rows_are_read_by_grades_in_both_forms(rows):
    built = experts_model("u8")
    portable = portable_of(built, rows=rows)
    lowered = lowered_of(portable)
    for shape in ((1, 1), (1, 5), (2, 3), (4, 1)):
        inputs = tokens(*shape)
        stock, one, two = (infer(model, inputs)[0] for model in (built.model, portable, lowered))
        assert close(two, one), shape
        changed = np.abs(one - stock).reshape(-1, stock.shape[-1]).max(1) > CLOSE * np.abs(stock).max()
        first = np.arange(shape[0] * shape[1]) % shape[1] == 0
        exempt = np.full(len(first), len(first) > 4) if rows == "decode" else first & (shape[1] > 1)
        np.testing.assert_array_equal(changed, ~exempt)


@pytest.mark.parametrize("clamped", [False, True])
def test_raise_brings_back_portable_and_stock_bit_for_bit(clamped):
    built = experts_model("u8", activation=CLAMPED if clamped else None, biased=clamped)
    portable, inputs = portable_of(built), tokens(1, 2)
    again = raise_(lowered_of(portable)).model
    np.testing.assert_array_equal(infer(again, inputs)[0], infer(portable, inputs)[0])
    (block,), _ = match_experts(again.get_ordered_ops())
    assert [pattern.whole_threshold.tolist() for pattern in (block.pruned_source, block.pruned_hidden)] == [[np.float32(HIGH)]] * 2
    stock = RemoveSparsity()(again).model
    assert fingerprint(stock) == fingerprint(built.model)
    np.testing.assert_array_equal(infer(stock, inputs)[0], infer(built.model, inputs)[0])


def test_rule_6_one_place_by_grades_and_the_other_pruned():
    built = experts_model("u8")
    portable = InsertSparsity(graded(built.model, ["block.0.expert_down"]))(built.model.clone()).model
    lowered = lowered_of(portable)
    (node,) = [node for node in lowered.get_ops() if node.get_type_name() == experts_op.OP]
    assert (node.get_attributes()["up_planes"], node.get_attributes()["down_planes"]) == (0, 1)
    assert close(infer(lowered, tokens(1, 1))[0], infer(portable, tokens(1, 1))[0])


def test_rule_4_a_residual_of_other_weights_stays_portable_with_the_reason():
    built = experts_model("u8")
    portable = portable_of(built)
    (block,), _ = match_experts(portable.get_ordered_ops())
    gate, up = (layer.half.lost for layer in block.pruned_source.layers)
    ours, theirs = gate.input_value(1), up.input_value(1)
    gate.input(1).replace_source_output(theirs)
    up.input(1).replace_source_output(ours)
    result = LowerExperts()(portable)
    assert not result.modified
    assert all("loses by half-reading is not what the high plane of its weights misses" in reason for _, reason in result.skipped)
    assert [name for name, _ in result.skipped] == ["block.0.expert_up", "block.0.expert_down"]


def test_weights_of_4_bits_are_pruned_only():
    portable = portable_of(experts_model("u4"))
    (block,), _ = match_experts(portable.get_ordered_ops())
    assert not block.pruned_source.whole_threshold.size


def test_levels_hold_both_thresholds():
    built = experts_model("u8")
    plan = graded(built.model, levels=(0, 0.5), dynamic_quantization=False)
    plan = replace(plan, levels={0.0: {}, 0.5: plan.entries})
    model = rewrite(built.model, plan, "lowered", {})
    name_model(model, "graded-experts")
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs = tokens(1, 2)
    for level, expected in ((0, infer(built.model, inputs)[0]), (0.5, infer(portable_of(built), inputs)[0])):
        scap_ov.set_level(level, "graded-experts")
        assert close(compiled(inputs)[0], expected), level
        again = infer(raise_(model.clone(), level).model, inputs)[0]
        assert close(again, expected), level


def test_what_reading_by_half_adds_is_in_memory_for_one_block_only(monkeypatch):
    """Four blocks of experts and attention: never more products with what high planes miss than one block has, and none at the end."""
    model = build(Shape("small", 4, 64, 32, 4, 2, 64, experts=4, used=2), "i8", 4)
    plan = graded(model, whole=HIGH)
    seen = []

    def count(model):
        seen.append(sum(node.get_friendly_name().endswith("/missed") for node in model.get_ops()))

    for kind in (LowerExperts, LowerSparseMatMul):
        monkeypatch.setattr(kind, "call", lambda self, model, call=kind.call: (count(model), call(self, model))[1])
    clone = model.clone()
    inserted, lowered = insert_and_lower(clone, plan, find_sites(clone, lm_head=True))
    assert (inserted.modified, lowered.modified, lowered.skipped) == (True, True, [])
    count(clone)
    assert max(seen) == 7, "q, k, v, o, gate, up and down"
    assert seen[-1] == 0
    kinds = [node.get_type_name() for node in clone.get_ops()]
    assert (kinds.count("SparseExperts"), kinds.count("SparseMatMul")) == (4, 9)
