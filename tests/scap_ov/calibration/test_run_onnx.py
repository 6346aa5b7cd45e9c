"""Calibration in onnxruntime gives what calibration of the same network's IR gives in OpenVINO."""

from __future__ import annotations

import numpy as np
import pytest
from small_onnx import as_ir, small_decoder, token_data

import scap_ov
from scap_ov.config import SparsityConfig
from scap_ov.models.onnx_model import open_onnx
from scap_ov.sites import SiteKind


@pytest.fixture(scope="module")
def profiles():
    return scap_ov.calibrate(small_decoder(), token_data()), scap_ov.calibrate(as_ir(small_decoder()), token_data())


def test_statistics_agree(profiles):
    own, ir = profiles
    assert list(own.statistics) == list(ir.statistics)
    assert own.metadata["tokens"] == ir.metadata["tokens"] == 6 * 23
    for name, of_ir in ir.statistics.items():
        assert own.statistics[name].count == of_ir.count
        assert set(own.statistics[name].tensors) == set(of_ir.tensors)
        for key, value in of_ir.tensors.items():
            mine = own.statistics[name].tensors[key].astype(np.float64)
            scale = np.abs(value.astype(np.float64)).max() + 1e-9
            if "histogram" in key:  # a value on the edge of a bin may fall to either side
                assert np.abs(mine - value).sum() <= 2e-3 * value.sum()
            else:
                np.testing.assert_allclose(mine / scale, value / scale, atol=2e-3, err_msg=f"{name} {key}")


def test_gates_of_gated_ffns_are_observed(profiles):
    own, _ = profiles
    down = [site.name for site in own.sites if site.kind is SiteKind.DOWN]
    assert [name for name, statistics in own.statistics.items() if "gate_histogram" in statistics.tensors] == down


def test_sensitivities_agree(profiles):
    own, ir = profiles
    assert set(own.sensitivity) == set(ir.sensitivity) != set()
    for name, table in ir.sensitivity.items():
        np.testing.assert_allclose(own.sensitivity[name]["loss"], table["loss"], rtol=0.5)  # by gradients there, by pruning here


def test_fitted_plans_agree(profiles):
    plans = [scap_ov.fit(profile, SparsityConfig(method="scap")) for profile in profiles]
    for name, entry in plans[0].entries.items():
        np.testing.assert_allclose(entry.threshold, plans[1].entries[name].threshold, rtol=1e-3)
        assert entry.expected_sparsity == pytest.approx(plans[1].entries[name].expected_sparsity, abs=1e-3)


def test_sequential_refitting_runs_in_onnxruntime(profiles):
    plan = scap_ov.fit(profiles[0], SparsityConfig(method="scap"))
    from scap_ov.calibration.refine import refine

    profile, refined = refine(open_onnx(small_decoder()), token_data(), profiles[0], plan, rounds=1)
    of_ir, refined_ir = refine(
        as_ir(small_decoder()), token_data(), profiles[1], scap_ov.fit(profiles[1], SparsityConfig(method="scap")), rounds=1
    )
    assert profile.metadata["sequential"]
    assert refined.entries["block.1.down"].threshold != plan.entries["block.1.down"].threshold
    np.testing.assert_allclose(refined.entries["block.1.down"].threshold, refined_ir.entries["block.1.down"].threshold, rtol=0.02)
    assert of_ir.metadata["sequential"]


def test_an_encoder_is_compared_by_cosine(tmp_path):
    from onnx_graphs import OnnxGraphBuilder

    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", ["b", "t", 32])
    y = d.op("MatMul", d.op("Relu", d.op("MatMul", x, d.weight("up", 32, 64))), d.weight("down", 64, 32))
    proto = d.proto({"out": y})
    data = np.random.default_rng(0).standard_normal((4, 1, 8, 32)).astype(np.float32)
    import nncf

    dataset = nncf.Dataset([{"x": sample} for sample in data])
    own, ir = scap_ov.calibrate(proto, dataset), scap_ov.calibrate(as_ir(proto), dataset)
    for name, table in ir.sensitivity.items():
        assert 0 < own.sensitivity[name]["loss"][0] < 1
        np.testing.assert_allclose(own.sensitivity[name]["loss"], table["loss"], rtol=1e-3, atol=1e-6)
