"""Layers that are read by half, lowered into planes: equal to the portable form row by row, and raised again bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from pruned_layers import infer, one_site, plan_of, vector

from scap_ov.custom_ops import OP_NAME
from scap_ov.passes.openvino import sparse_op
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.raise_sparse_matmul import RaiseSparseMatMul
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity
from scap_ov.passes.rules.match_pattern import match_patterns

K, LOW, HIGH = 256, 0.4, 1.5
RNG = np.random.default_rng(4)
FORMS = ["u8-zp", "i8", "i8-by-input", "u8-f32-zp", "i8-zp", "i8-g32", "u8-g64-zp", "i8-g96-short"]


def portable_of(built, *, whole=HIGH, threshold=LOW, **config):
    plan = plan_of(built.model, threshold, **config)
    entries = {name: replace(entry, whole_threshold=vector(whole)) for name, entry in plan.entries.items()}
    return InsertSparsity(replace(plan, entries=entries))(built.model.clone()).model


def lowered_of(portable, **options):
    result = LowerSparseMatMul(**{"dynamic_quantization": False, **options})(portable.clone())
    assert result.skipped == []
    return result.model


def ops_of(model):
    return [node for node in model.get_ordered_ops() if node.get_type_name() == OP_NAME]


def samples(*lead, seed=0):
    return np.random.default_rng(seed).standard_normal((*lead, K)).astype(np.float32)


def assert_equal(built, portable, lowered, leads):
    for lead in leads:
        x = samples(*lead)
        size = max(float((np.abs(x) @ np.abs(stored.dense).T).max()) for stored in built.weights)
        for a, b in zip(infer(portable, [x]), infer(lowered, [x]), strict=True):
            assert np.abs(a.astype(np.float64) - b).max() < 2.0**-11 * size, f"x of {lead}"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_portable_equals_lowered(form):
    built = one_site([form, form], [100, 40], K)
    portable = portable_of(built, center=0.1, compensation=lambda n: np.linspace(-1, 1, n))
    assert_equal(built, portable, lowered_of(portable), [(1, 1), (1, 3), (1, 9)])


@pytest.mark.parametrize("rows", ["decode", "all"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_thresholds_of_channels_and_row_policies(rows, per_channel):
    built = one_site(["u8-zp"], [70], K)
    low, high = (RNG.uniform(-0.1, 0.8, K), RNG.uniform(0.5, 2, K)) if per_channel else (LOW, HIGH)
    portable = portable_of(built, threshold=low, whole=high, rows=rows, center=RNG.normal(0, 0.3, K))
    assert_equal(built, portable, lowered_of(portable), [(1, 1), (4, 1), (1, 4), (1, 11), (2, 10)])


@pytest.mark.parametrize("form", ["u8-zp", "i8-g32"])
def test_nothing_dropped_and_all_whole_is_the_stock_model(form):
    built = one_site([form], [100], K)
    lowered = lowered_of(portable_of(built, threshold=-1.0, whole=-1.0))
    assert sparse_op.read(ops_of(lowered)[0])[0].planes
    assert_equal(built, built.model, lowered, [(1, 1), (1, 20)])


def test_rule_7_layers_that_are_not_read_by_half_become_an_op_of_their_own():
    built = one_site(["u8-zp", "i4-g32", "u8-zp"], [40, 24, 30], K)
    portable = portable_of(built)
    lowered = lowered_of(portable)
    packed = [sparse_op.read(node)[0] for node in ops_of(lowered)]
    assert {(site.weight_type, site.planes, sum(site.sizes)) for site in packed} == {("u8", True, 70), ("i4", False, 24)}
    assert_equal(built, portable, lowered, [(1, 2)])


def test_rule_6_a_residual_of_other_weights_stays_portable_with_the_reason():
    built = one_site(["u8-zp", "u8-zp"], [40, 40], K)
    portable = portable_of(built)
    first, second = (layer.half.lost for layer in match_patterns(portable)[0].layers)
    a, b = first.input_value(1), second.input_value(1)
    first.input(1).replace_source_output(b)
    second.input(1).replace_source_output(a)
    result = LowerSparseMatMul()(portable)
    assert not ops_of(result.model)
    assert "is not what the high plane of its weights misses" in result.skipped[0][1]


@pytest.mark.parametrize("form", FORMS)
def test_weights_and_thresholds_come_back(form):
    built = one_site([form, form], [100, 40], K)
    portable = portable_of(built, center=0.1, compensation=np.ones)
    lowered = lowered_of(portable)
    raised = RaiseSparseMatMul()(lowered.clone()).model
    (pattern,) = match_patterns(raised)
    assert (pattern.threshold.tolist(), pattern.whole_threshold.tolist()) == ([np.float32(LOW)], [np.float32(HIGH)])
    assert_equal(built, portable, raised, [(1, 2), (1, 9)])
    again = sparse_op.read(ops_of(lowered_of(raised))[0])
    for mine, theirs in zip(again, sparse_op.read(ops_of(lowered)[0]), strict=True):
        for field in vars(theirs):
            np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field))
    RemoveSparsity()(raised)
    for weight, stored in zip(find_sites(raised).matches[0].weights, built.weights, strict=True):
        np.testing.assert_array_equal(weight.raw(), stored.raw)


def test_activations_of_f16():
    built = one_site(["u8-zp"], [70], K)
    lowered = lowered_of(portable_of(built))
    x = ops.parameter([-1, -1, K], np.float16)
    packed, pruning = sparse_op.read(ops_of(lowered)[0])
    narrow = ov.Model(sparse_op.build(sparse_op.creator(), x.output(0), packed, pruning, dynamic_quantization=False).outputs(), [x])
    values = samples(1, 2).astype(np.float16)
    wide = infer(lowered, [values.astype(np.float32)])[0]
    got = infer(narrow, [values])[0]
    assert np.abs(got.astype(np.float32) - wide).max() < 2.0**-9 * np.abs(wide).max()
