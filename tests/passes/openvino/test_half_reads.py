"""What is read by half in the portable form: the arithmetic, dense rows untouched, matched again, taken out again."""

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from pruned_layers import assert_close, infer, one_site, plan_of, reference, vector

from scap_ov.custom_ops.formats import planes
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.half_reads import is_of
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity
from scap_ov.passes.rules.match_pattern import match_patterns

K, LOW, HIGH = 256, 0.4, 1.5
FORMS = ["u8-zp", "i8", "i8-by-input", "u8-f32-zp", "i8-g32", "u8-g64-zp", "i8-g96-short"]


def graded(built, *, whole=HIGH, threshold=LOW, **config):
    plan = plan_of(built.model, threshold, **config)
    entries = {name: replace(entry, whole_threshold=vector(whole)) for name, entry in plan.entries.items()}
    return replace(plan, entries=entries)


def expected(x, stored, pruned_rows, center=0.0, compensation=None):
    """y of pruned rows with what the high plane misses taken off, float64, and the tolerance."""
    y, tolerance = reference(x, stored.dense, LOW, center, pruned_rows, compensation, rounding=2.0**-10)
    raw = stored.raw.astype(np.int16 if stored.raw.min() < 0 else np.uint8)
    raw = raw.astype(np.int8) if raw.dtype == np.int16 else raw
    made = planes.split(raw, planes.step_group(K // stored.scale.shape[1] if stored.scale.shape[1] > 1 else K, K))
    scale = np.repeat(stored.scale, -(-K // stored.scale.shape[1]), axis=1)[:, :K]
    missed = made.missed().astype(np.float64) * scale
    change = x.astype(np.float64) - center
    half = (np.abs(x - np.float32(center)) > np.float32(LOW)) & (np.abs(x - np.float32(center)) <= np.float32(HIGH))
    return y - np.where(half & pruned_rows[..., None], change, 0) @ missed.T, tolerance


def samples(rows, seed=0):
    return np.random.default_rng(seed).standard_normal((1, rows, K)).astype(np.float32)


@pytest.mark.parametrize("form", ["u8-zp", "i8-g32", "u8-g64-zp", "i8-by-input"])
@pytest.mark.parametrize("center", [0.0, 0.3])
def test_rule_7_half_read_entries_lose_what_the_high_plane_misses(form, center):
    built = one_site([form, "u8-zp"], [40, 24], K)
    plan = graded(built, center=center, rows="decode", compensation=lambda n: np.linspace(-1, 1, n))
    model = InsertSparsity(plan)(built.model.clone()).model
    x = samples(2)
    for y, stored, extra in zip(infer(model, [x]), built.weights, np.split(np.linspace(-1, 1, 64), [40]), strict=True):
        assert_close(y, *expected(x, stored, np.ones((1, 2), bool), center, extra), form)
    long = samples(7)
    for y, dense in zip(infer(model, [long]), infer(built.model, [long]), strict=True):
        np.testing.assert_array_equal(y, dense, "a prompt is computed dense, exactly")


def test_rule_3_the_first_position_stays_dense():
    built = one_site(["u8-zp"], [40], K)
    model = InsertSparsity(graded(built, rows="all"))(built.model.clone()).model
    x = samples(5)
    y = infer(model, [x])[0]
    np.testing.assert_array_equal(y[:, :1], infer(built.model, [x])[0][:, :1])
    assert_close(y, *expected(x, built.weights[0], np.arange(5)[None] > 0), "all")


def test_nan_is_read_whole_by_those_that_are_read_by_half():
    built = one_site(["u8-zp"], [40], K)
    model = InsertSparsity(graded(built, threshold=-1.0))(built.model).model
    x = samples(1)
    x[0, 0, 3] = np.nan
    half = next(n for n in model.get_ordered_ops() if n.get_friendly_name().endswith(".half"))
    chosen = infer(ov.Model([half], model.get_parameters(), "half"), [x])[0]
    assert np.isfinite(chosen).all()


def test_nothing_is_subtracted_behind_a_product_and_files_that_do_are_read():
    """OpenVINO compiles a Subtract there wrongly for several streams; earlier versions wrote it."""
    built = one_site(["i8"], [40], K)
    model = InsertSparsity(graded(built))(built.model.clone()).model
    (behind,) = (n for n in model.get_ops() if n.get_type_name() == "Add" and n.input_value(1).get_node().get_type_name() == "MatMul")
    old = model.clone()
    (negative,) = (n for n in old.get_ops() if n.get_type_name() == "Negative")
    for reader in negative.output(0).get_target_inputs():
        reader.replace_source_output(negative.input_value(0))
    (behind,) = (n for n in old.get_ops() if n.get_friendly_name() == behind.get_friendly_name())
    subtract = ops.subtract(*behind.input_values())
    for reader in behind.output(0).get_target_inputs():
        reader.replace_source_output(subtract.output(0))
    old = old.clone()  # without the Add, which this function still holds
    x = samples(2)
    np.testing.assert_array_equal(infer(old, [x])[0], infer(model, [x])[0])
    (new_pattern,), (old_pattern,) = match_patterns(model), match_patterns(old)
    assert new_pattern.layers[0].half is not None
    assert old_pattern.layers[0].half is not None
    RemoveSparsity()(old)
    np.testing.assert_array_equal(infer(old, [x])[0], infer(built.model, [x])[0])


@pytest.mark.parametrize("form", FORMS)
def test_thresholds_are_matched_and_the_low_plane_is_the_weights_own(form, tmp_path):
    built = one_site([form, form], [40, 40], K)
    model = InsertSparsity(graded(built, center=0.1, compensation=np.ones))(built.model).model
    ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    (found,) = match_patterns(ov.Core().read_model(tmp_path / "m.xml"))
    assert (found.threshold.tolist(), found.whole_threshold.tolist()) == ([np.float32(LOW)], [np.float32(HIGH)])
    assert all(layer.compensation is not None for layer in found.layers)
    weights = find_sites(RemoveSparsity()(ov.Core().read_model(tmp_path / "m.xml")).model).matches[0].weights
    own = {match.matmul.get_friendly_name(): match.half for match in found.layers}
    assert [is_of(own[f"layers.0.layer{i}"], weights[i]) for i in (0, 1)] == [True, True]
    assert not is_of(own["layers.0.layer0"], weights[1])


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_removing_gives_the_stock_model(rows):
    built = one_site(["u8-zp", "i4-g32"], [40, 24], K)
    before = [n.get_type_name() for n in built.model.get_ordered_ops()]
    x, model = samples(3), built.model.clone()
    dense = infer(model, [x])
    InsertSparsity(graded(built, rows=rows, compensation=np.ones))(model)
    by_half = {layer.matmul.get_friendly_name() for layer in match_patterns(model)[0].layers if layer.half is not None}
    assert by_half == {"layers.0.layer0"}, "int4 is never read by half"
    RemoveSparsity()(model)
    assert sorted(before) == sorted(n.get_type_name() for n in model.get_ordered_ops())
    for a, b in zip(dense, infer(model, [x]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_plan_without_layers_of_8_bits_is_pruning():
    built = one_site(["i4-g32"], [40], K)
    model = InsertSparsity(graded(built))(built.model).model
    assert not match_patterns(model)[0].whole_threshold.size
