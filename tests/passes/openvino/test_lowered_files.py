"""Pruned models go through files and come back as they were, in either form, and so do files of before."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from pruned_layers import assert_close, forms_of, infer, one_site, reference, x_of

import scap_ov
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.raise_sparse_matmul import RaiseSparseMatMul

K, N = 256, 100
RNG = np.random.default_rng(21)
CENTERS = RNG.normal(0, 0.3, K).astype(np.float32)
THRESHOLDS = RNG.uniform(-0.2, 1.2, K).astype(np.float32)


def test_a_file_from_before_the_ramp_has_none(tmp_path):
    built = one_site(["i8"], [N], K)
    _, lowered = forms_of(built, 0.5)
    core = ov.Core()
    scap_ov.register(core)
    ov.save_model(lowered, tmp_path / "m.xml", compress_to_fp16=False)
    text = (tmp_path / "m.xml").read_text()
    assert ' ramp="0"' in text
    (tmp_path / "m.xml").write_text(text.replace(' ramp="0"', ""))
    x = x_of(1, 1, K)
    np.testing.assert_array_equal(infer(core.read_model(tmp_path / "m.xml"), [x], core)[0], infer(lowered, [x])[0])


@pytest.mark.parametrize("writer", ["ov.save_model", "scap_ov.save_model"])
def test_round_trip_through_a_file(writer, tmp_path):
    """Read in a core that learns of the op by `register`, and raised again without loss."""
    built = one_site(["u4-g32-zp", "f16", "i8-bf16"], [N, 24, 40], K)
    portable, lowered = forms_of(built, THRESHOLDS, center=CENTERS, compensation=lambda n: np.linspace(-1, 1, n))
    x = x_of(1, 3, K)
    expected = infer(lowered, [x])
    if writer == "ov.save_model":
        ov.save_model(lowered, tmp_path / "m.xml")
    else:
        scap_ov.save_model(lowered, tmp_path / "m.xml")
    core = ov.Core()
    scap_ov.register(core)
    again = core.read_model(tmp_path / "m.xml")
    for a, b in zip(expected, infer(again, [x], core), strict=True):
        np.testing.assert_array_equal(a, b)
    RaiseSparseMatMul()(again)
    for number, (a, b) in enumerate(zip(infer(portable, [x]), infer(again, [x]), strict=True)):
        stored = built.weights[number]
        _, tolerance = reference(x, stored.dense, -1, 0, np.zeros((1, 3), bool), rounding=stored.plugin_rounding)
        assert_close(b, a, tolerance, f"layer {number}")


def test_round_trip_of_the_portable_form(tmp_path):
    """ov.save_model writes f32 constants as f16 where nothing keeps it from doing so; thresholds must not move."""
    built = one_site(["i8"], [N], K)
    portable, _ = forms_of(built, THRESHOLDS, center=CENTERS, compensation=np.ones)
    x = x_of(1, 3, K)
    expected = infer(portable, [x])[0]
    ov.save_model(portable, tmp_path / "m.xml")
    again = ov.Core().read_model(tmp_path / "m.xml")
    np.testing.assert_array_equal(infer(again, [x])[0], expected)
    lowered = LowerSparseMatMul(dynamic_quantization=False)(again)
    assert lowered.skipped == []
    _, tolerance = reference(x, built.weights[0].dense, -1, 0, np.zeros((1, 3), bool))
    assert_close(infer(lowered.model, [x])[0], expected, tolerance, "lowered after a file")
