"""The pattern is matched however another tool, or a file, spells it; what only looks like it is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from pruned_layers import assert_close, infer, one_site, plan_of, reference
from weight_forms import matmul, store

from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.rules.match_pattern import EVERY_ROW, match_patterns

K, N = 64, 40
RNG = np.random.default_rng(4)
C = RNG.normal(0, 0.3, (1, 1, K)).astype(np.float32)
T = RNG.uniform(0.2, 1, (1, 1, K)).astype(np.float32)
ZERO = np.float32(0)


def f16(values):
    """A constant that was saved with compression."""
    return ops.convert(ops.constant(values.astype(np.float16)), np.float32)


def halves(values):
    return values.astype(np.float16).astype(np.float32)


# name -> (function from x to the pruned tensor, center, threshold, kept at equality)
SPELLINGS = {
    "ours": (lambda x: ops.select(ops.greater(ops.abs(ops.subtract(x, C)), T), x, C), C, T),
    "no center": (lambda x: ops.select(ops.greater(ops.abs(x), T), x, ZERO), ZERO, T),
    "nncf": (lambda x: ops.select(ops.less_equal(ops.abs(x), np.float32(0.5)), ZERO, x), ZERO, np.float32(0.5)),
    "nncf, compressed": (lambda x: ops.select(ops.less_equal(ops.abs(x), f16(T)), f16(0 * T), x), ZERO, halves(T)),
    "mirrored": (lambda x: ops.select(ops.less(T, ops.abs(ops.subtract(x, C))), x, C), C, T),
    "mirrored drop": (lambda x: ops.select(ops.greater_equal(T, ops.abs(ops.subtract(x, C))), C, x), C, T),
    "add of the negative": (lambda x: ops.select(ops.greater(ops.abs(ops.add(x, -C)), T), x, C), C, T),
    "add, the other way round": (lambda x: ops.select(ops.greater(ops.abs(ops.add(-C, x)), T), x, C), C, T),
    "not": (lambda x: ops.select(ops.logical_not(ops.less_equal(ops.abs(ops.subtract(x, C)), T)), x, C), C, T),
    "not, drop": (lambda x: ops.select(ops.logical_not(ops.greater(ops.abs(ops.subtract(x, C)), T)), C, x), C, T),
    "compressed constants": (lambda x: ops.select(ops.greater(ops.abs(ops.subtract(x, f16(C))), f16(T)), x, f16(C)), halves(C), halves(T)),
    "scalar center of rank 0": (
        lambda x: ops.select(ops.greater(ops.abs(ops.subtract(x, np.float32(0.25))), T), x, np.float32(0.25)), np.float32(0.25), T,
    ),
    "at equality kept": (lambda x: ops.select(ops.greater_equal(ops.abs(x), T), x, ZERO), ZERO, np.nextafter(T, np.float32(-1))),
    "at equality kept, mirrored drop": (lambda x: ops.select(ops.less(ops.abs(x), T), ZERO, x), ZERO, np.nextafter(T, np.float32(-1))),
}  # fmt: skip


def foreign(prune, *, rank=3):
    x = ops.parameter(ov.PartialShape([-1] * (rank - 1) + [K]), np.float32, name="x")
    stored = store(N, K, "i8", np.random.default_rng(0))
    return ov.Model([ops.result(matmul(prune(x), stored, "fc"))], [x], "m"), stored


@pytest.mark.parametrize("name", SPELLINGS)
def test_spelling(name):
    prune, center, threshold = SPELLINGS[name]
    model, stored = foreign(prune)
    (pattern,) = match_patterns(model)
    np.testing.assert_array_equal(np.broadcast_to(pattern.center, K), np.broadcast_to(center, (1, 1, K)).ravel())
    np.testing.assert_array_equal(np.broadcast_to(pattern.threshold, K), np.broadcast_to(threshold, (1, 1, K)).ravel())
    assert (pattern.rows, pattern.max_sparse_rows) == ("decode", EVERY_ROW)
    lowered = LowerSparseMatMul(dynamic_quantization=False)(model.clone())
    assert lowered.skipped == []
    x = np.random.default_rng(1).standard_normal((2, 5, K)).astype(np.float32)
    x[0, 0] = np.broadcast_to(threshold, (1, 1, K)) + np.broadcast_to(center, (1, 1, K))
    portable, actual = infer(model, [x])[0], infer(lowered.model, [x])[0]
    _, tolerance = reference(x, stored.dense, -1, np.ravel(center), np.zeros((2, 5), bool))
    assert_close(actual, portable, tolerance, name)


@pytest.mark.parametrize("rank", [2, 4])
def test_other_ranks_without_a_row_policy(rank):
    model, _ = foreign(lambda x: ops.select(ops.greater(ops.abs(x), np.float32(0.5)), x, ZERO), rank=rank)
    (pattern,) = match_patterns(model)
    assert pattern.rows == "all"


def test_spelling_in_f16_with_converted_comparison():
    x = ops.parameter(ov.PartialShape([-1, -1, K]), np.float16, name="x")
    wide = ops.convert(x, np.float32)
    pruned = ops.select(ops.greater(ops.abs(ops.subtract(wide, C)), T), x, ops.convert(ops.constant(C), np.float16))
    stored = store(N, K, "i8", np.random.default_rng(0), activations="f16")
    (pattern,) = match_patterns(ov.Model([ops.result(matmul(pruned, stored, "fc"))], [x], "m"))
    np.testing.assert_array_equal(pattern.center, C.ravel())


def ramped(x, start, steepness):
    """A ramp that starts at `start`, on entries that are kept from T on."""
    distance, keep = ops.abs(x), ops.constant(T)
    start = keep if start is T else ops.constant(start)
    excess = ops.subtract(start, ops.multiply(ops.subtract(distance, start), ops.constant(steepness)))
    return ops.select(ops.greater(distance, keep), ops.subtract(x, ops.multiply(ops.sign(x), ops.relu(excess))), ZERO)


def test_a_ramp_of_another_tool():
    model, _ = foreign(lambda x: ramped(x, T, np.float32(4)))
    (pattern,) = match_patterns(model)
    assert pattern.ramp == 0.25
    assert pattern.source.get_node().get_type_name() == "Parameter"


NOT_OURS = {
    "relu by hand": lambda x: ops.select(ops.greater(x, ZERO), x, ZERO),
    "another replacement": lambda x: ops.select(ops.greater(ops.abs(ops.subtract(x, C)), T), x, 2 * C),
    "zero in place of the center": lambda x: ops.select(ops.greater(ops.abs(ops.subtract(x, C)), T), x, ZERO),
    "another tensor is compared": lambda x: ops.select(ops.greater(ops.abs(ops.multiply(x, np.float32(2))), T), x, ZERO),
    "threshold from the data": lambda x: ops.select(
        ops.greater(ops.abs(x), ops.reduce_mean(ops.abs(x), np.array([-1]), keep_dims=True)), x, ZERO
    ),
    "the wrong way round": lambda x: ops.select(ops.greater(ops.abs(x), T), ZERO, x),
    "condition from elsewhere": lambda x: ops.select(
        ops.logical_or(ops.greater(ops.abs(x), T), ops.less(ops.reduce_mean(x, np.array([0, 1, 2]), keep_dims=True), ZERO)), x, ZERO
    ),
    "a threshold for each position": lambda x: ops.select(ops.greater(ops.abs(x), T.reshape(1, K, 1)), x, ZERO),
    "a center for each position": lambda x: ops.select(ops.greater(ops.abs(ops.subtract(x, C.reshape(1, K, 1))), T), x, C.reshape(1, K, 1)),
    "a ramp from another threshold": lambda x: ramped(x, 2 * T, np.float32(2)),
    "a ramp for each channel": lambda x: ramped(x, T, 1 + T),
    "a computed replacement": lambda x: ops.select(ops.greater(ops.abs(x), T), x, ops.multiply(x, ZERO)),
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_only_looks_like_the_pattern(name):
    model, _ = foreign(NOT_OURS[name])
    found = match_patterns(model)
    # "the wrong way round" drops the large entries; nothing here may be read as pruning of small ones
    assert found == []
    assert not LowerSparseMatMul()(model).modified


def test_a_pattern_that_no_layer_reads_is_none():
    x = ops.parameter(ov.PartialShape([-1, K]), np.float32, name="x")
    pruned = ops.select(ops.greater(ops.abs(x), np.float32(0.5)), x, ZERO)
    assert match_patterns(ov.Model([ops.result(ops.relu(pruned))], [x], "m")) == []


def test_select_of_attention_masks_are_none():
    """Selects that every exported decoder has."""
    mask = ops.parameter(ov.PartialShape([-1, -1]), np.int64, name="mask")
    keep = ops.greater(mask, np.int64(0))
    chosen = ops.select(keep, ZERO, np.float32(-65504))
    assert match_patterns(ov.Model([ops.result(chosen)], [mask], "m")) == []


@pytest.mark.parametrize("rows", ["decode", "all"])
@pytest.mark.parametrize("center", [0.0, 0.3, C.ravel()], ids=["none", "scalar", "channels"])
@pytest.mark.parametrize("ramp", [0.0, 0.3])
@pytest.mark.parametrize("saved", [False, True])
def test_what_insert_writes_is_read_back(rows, center, ramp, saved, tmp_path):
    built = one_site(["i8", "f16"], [N, 24], K)
    values = np.arange(N + 24, dtype=np.float32) / 64
    plan = plan_of(built.model, T.ravel(), center=center, rows=rows, max_sparse_rows=7, compensation=lambda n: values)
    plan = dataclasses.replace(plan, config=dataclasses.replace(plan.config, ramp=ramp))
    model = InsertSparsity(plan)(built.model).model
    if saved:
        ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
        model = ov.Core().read_model(tmp_path / "m.xml")
    (pattern,) = match_patterns(model)
    np.testing.assert_array_equal(np.broadcast_to(pattern.center, K), np.broadcast_to(np.float32(center), K))
    np.testing.assert_array_equal(pattern.threshold, T.ravel())
    assert pattern.rows == rows
    assert pattern.ramp == pytest.approx(ramp)
    assert rows == "all" or pattern.max_sparse_rows == 7
    found = {layer.matmul.get_friendly_name(): layer.compensation for layer in pattern.layers}
    ends = np.cumsum([layer.out_features for layer in plan.sites[0].layers])[:-1]
    for layer, part in zip(plan.sites[0].layers, np.split(values, ends), strict=True):
        np.testing.assert_array_equal(found[layer.name], part)


def test_a_bias_is_no_compensation():
    x = ops.parameter(ov.PartialShape([-1, -1, K]), np.float32, name="x")
    pruned = ops.select(ops.greater(ops.abs(x), np.float32(0.5)), x, ZERO)
    biased = ops.add(matmul(pruned, store(N, K, "i8", np.random.default_rng(0)), "fc"), np.ones(N, np.float32))
    (pattern,) = match_patterns(ov.Model([ops.result(biased)], [x], "m"))
    assert pattern.layers[0].compensation is None


def test_row_limits_in_other_words():
    for make, limit in (
        (lambda rows: ops.less(rows, np.int64(5)), 4),
        (lambda rows: ops.greater(np.int64(5), rows), 4),
        (lambda rows: ops.greater_equal(np.int64(5), rows), 5),
        (lambda rows: ops.less_equal(rows, np.int64(5)), 5),
    ):

        def prune(x, make=make):
            rows = ops.gather(ops.shape_of(x), np.array(1), np.array(0))
            limit = ops.select(make(rows), T, np.float32(-1))
            return ops.select(ops.greater(ops.abs(x), limit), x, ZERO)

        (pattern,) = match_patterns(foreign(prune)[0])
        assert pattern.max_sparse_rows == limit


def test_a_row_limit_that_is_none_is_not_read_as_one():
    def prune(x):
        rows = ops.gather(ops.shape_of(x), np.array(1), np.array(0))
        return ops.select(ops.greater(ops.abs(x), ops.select(ops.greater(rows, np.int64(5)), T, np.float32(-1))), x, ZERO)

    assert match_patterns(foreign(prune)[0]) == []


def test_an_input_of_unknown_rank_is_no_pattern():
    x = ops.parameter(ov.PartialShape.dynamic(), np.float32, name="x")
    pruned = ops.select(ops.greater(ops.abs(x), np.float32(0.5)), x, ZERO)
    model = ov.Model([ops.result(matmul(pruned, store(N, K, "i8", np.random.default_rng(0)), "fc"))], [x], "m")
    assert match_patterns(model) == []
