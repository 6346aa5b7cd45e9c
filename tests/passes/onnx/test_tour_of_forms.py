"""Every form of a layer: ONNX pass -> onnxruntime, and ONNX -> OpenVINO -> lower, against float64 numpy."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx_graphs import FORMS, Form, K

import scap_ov
from scap_ov.backends import onnx as backend
from scap_ov.config import SparsityConfig
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.passes.onnx.openvino_functions import conversions
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.sparse_op import names_of
from scap_ov.plan import SitePlan, SparsityPlan

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
CENTER, THRESHOLD = 0.25, 0.625  # exact in f16


@functools.cache
def made(name: str) -> Form:
    return FORMS[name]()


def plan_of(form: Form, *, compensation: bool = False, **options) -> tuple[object, SparsityPlan]:
    opened = backend.open_model(form.proto)
    sites, skipped = backend.find(opened, SparsityConfig())
    assert not skipped
    (site,) = sites
    extra = np.linspace(-1, 1, site.out_features, dtype=np.float32) if compensation else None
    entry = SitePlan(site.name, np.full(1, THRESHOLD, np.float32), np.full(site.in_features, CENTER, np.float32), 0.5, extra)
    return opened, SparsityPlan(SparsityConfig(**options), opened.fingerprint, sites, {site.name: entry})


def sample(form: Form, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(form.shape).astype(form.dtype)


def expected(form: Form, x: np.ndarray, dense_rows=(), ramp=0.0) -> list[np.ndarray]:
    rows = x.T if form.transposed else x
    kept = np.abs(rows.astype(np.float32) - np.float32(CENTER)) > np.float32(THRESHOLD)
    kept[:, list(dense_rows)] = True
    assert 0.2 < 1 - kept.mean() < 0.8
    if ramp:
        shifted = rows.astype(np.float64) - CENTER
        value = CENTER + np.sign(shifted) * np.minimum(np.abs(shifted), (np.abs(shifted) - THRESHOLD) * (1 + 1 / ramp))
        value[:, list(dense_rows)] = rows[:, list(dense_rows)]
        rows = value
    return form.dense(np.where(kept, rows, CENTER))


def assert_close(form: Form, got: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    eps = 2.0**-11 if form.dtype == np.float16 else 2.0**-24
    for value, reference, weight in zip(got, wanted, form.weights, strict=True):
        assert value.reshape(-1).shape == reference.reshape(-1).shape
        bound = 16 * eps * (4 * np.abs(weight).sum(1).max() + np.abs(reference).max())
        assert np.abs(value.reshape(reference.shape) - reference).max() <= bound


def openvino_outputs(model: ov.Model, x: np.ndarray, count: int, core: ov.Core) -> list[np.ndarray]:
    results = core.compile_model(model, "CPU", EXACT)({"x": x})
    return [results[f"y{i}"] for i in range(count)]


@pytest.mark.parametrize("name", FORMS)
def test_the_stock_model_is_what_the_reference_says(name):
    form = made(name)
    x = sample(form)
    got = OnnxSession(backend.open_model(form.proto).model).run({"x": x})
    assert_close(form, [got[f"y{i}"] for i in range(len(form.weights))], form.dense(x.T if form.transposed else x))


@pytest.mark.parametrize("name", FORMS)
def test_weights_are_read_as_they_are(name):
    from scap_ov.passes.onnx.find_sites import find_sites

    form = made(name)
    (match,) = find_sites(backend.open_model(form.proto).model.graph_model).matches
    for weight, real in zip(match.weights, form.weights, strict=True):
        np.testing.assert_allclose(np.asarray(weight), real, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("inserted", ["portable", "function"])
@pytest.mark.parametrize("name", FORMS)
def test_pruned_in_onnxruntime(name, inserted):
    form = made(name)
    opened, plan = plan_of(form)
    sparse = backend.rewrite(opened, plan, inserted, {})
    onnx.checker.check_model(sparse)
    x = sample(form)
    got = OnnxSession(backend.open_model(sparse).model).run({"x": x})
    assert_close(form, [got[f"y{i}"] for i in range(len(form.weights))], expected(form, x))


@pytest.mark.parametrize("inserted", ["portable", "function"])
@pytest.mark.parametrize("name", FORMS)
def test_read_and_lowered_by_openvino(name, inserted, tmp_path):
    form = made(name)
    opened, plan = plan_of(form)
    path = tmp_path / "sparse.onnx"
    onnx.save(backend.rewrite(opened, plan, inserted, {}), path)
    core = ov.Core()
    scap_ov.register(core)
    for conversion in conversions() if inserted == "function" else ():
        core.add_extension(conversion)
    model = core.read_model(path)
    x = sample(form)
    count = len(form.weights)
    assert_close(form, openvino_outputs(model, x, count, core), expected(form, x))
    result = LowerSparseMatMul(dynamic_quantization=False)(model)
    assert result.skipped == []
    (op,) = [op for op in model.get_ops() if op.get_type_name() == "SparseMatMul"]
    assert op.get_output_size() == count
    assert names_of(op)[0] == plan.sites[0].name
    assert_close(form, openvino_outputs(model, x, count, core), expected(form, x))


@pytest.mark.parametrize("inserted", ["portable", "function"])
@pytest.mark.parametrize("name", ["matmul f32", "matmul f16", "gemm transA=1 transB=0", "nbits 4 zp bias", "shared input"])
def test_ramp(name, inserted, tmp_path):
    form = made(name)
    opened, plan = plan_of(form, ramp=0.5)
    onnx.save(backend.rewrite(opened, plan, inserted, {}), tmp_path / "sparse.onnx")
    x, count = sample(form), len(form.weights)
    got = OnnxSession(backend.open_model(tmp_path / "sparse.onnx").model).run({"x": x})
    assert_close(form, [got[f"y{i}"] for i in range(count)], expected(form, x, ramp=0.5))
    core = ov.Core()
    scap_ov.register(core)
    model = core.read_model(tmp_path / "sparse.onnx")
    assert LowerSparseMatMul(dynamic_quantization=False)(model).skipped == []
    assert_close(form, openvino_outputs(model, x, count, core), expected(form, x, ramp=0.5))


@pytest.mark.parametrize("inserted", ["portable", "function"])
def test_long_steps_are_dense(inserted):
    form = made("matmul f32")
    opened, plan = plan_of(form, max_sparse_rows=2, compensation=True)
    x = sample(form)
    got = OnnxSession(backend.open_model(backend.rewrite(opened, plan, inserted, {})).model).run({"x": x})
    assert_close(form, [got["y0"]], form.dense(x))


def assert_both_runtimes_give(sparse, form, x, wanted, inserted, folder):
    """onnxruntime, and OpenVINO with every site lowered, from the same file."""
    count = len(form.weights)
    got = OnnxSession(backend.open_model(sparse).model).run({"x": x})
    assert_close(form, [got[f"y{i}"] for i in range(count)], wanted)
    core = ov.Core()
    scap_ov.register(core)
    for conversion in conversions() if inserted == "function" else ():
        core.add_extension(conversion)
    onnx.save(sparse, folder / "sparse.onnx")
    model = core.read_model(folder / "sparse.onnx")
    assert LowerSparseMatMul(dynamic_quantization=False)(model).skipped == []
    assert_close(form, openvino_outputs(model, x, count, core), wanted)


@pytest.mark.parametrize("ramp", [0.0, 0.5])
@pytest.mark.parametrize("inserted", ["portable", "function"])
@pytest.mark.parametrize("name", ["matmul f32", "matmul f16", "shared input"])
def test_all_rows_but_the_first(name, inserted, ramp, tmp_path):
    form = made(name)
    opened, plan = plan_of(form, rows="all", ramp=ramp)
    sparse = backend.rewrite(opened, plan, inserted, {})
    x = sample(form)
    wanted = expected(form, x, [0], ramp)
    assert_both_runtimes_give(sparse, form, x, wanted, inserted, tmp_path)


@pytest.mark.parametrize("inserted", ["portable", "function"])
@pytest.mark.parametrize("rows", ["decode", "all"])
@pytest.mark.parametrize("name", ["matmul f32", "gemm transA=0 transB=1", "shared input", "matmul f16"])
def test_compensation_reaches_pruned_rows(name, rows, inserted, tmp_path):
    form = made(name)
    opened, plan = plan_of(form, rows=rows, compensation=True)
    sparse = backend.rewrite(opened, plan, inserted, {})
    x = sample(form)
    exempt = [0] if rows == "all" and len(form.shape) == 3 else []
    wanted = expected(form, x, dense_rows=exempt)
    extra, start = np.linspace(-1, 1, sum(len(w) for w in form.weights)), 0
    for value in wanted:
        part = np.broadcast_to(extra[start : start + value.shape[-1]], value.shape).copy()
        start += value.shape[-1]
        if exempt:
            part[:, 0] = 0
        np.add(value, part, out=value)
    assert_both_runtimes_give(sparse, form, x, wanted, inserted, tmp_path)


def test_sizes_are_those_of_the_drawing():
    _, plan = plan_of(made("shared input"))
    assert plan.sites[0].in_features == K
    assert [layer.out_features for layer in plan.sites[0].layers] == [48, 16]
