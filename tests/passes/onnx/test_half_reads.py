"""What is read by half in ONNX graphs: onnxruntime and OpenVINO compute the same, inline and as a function; taken out again it is gone."""

from dataclasses import replace

import numpy as np
import onnx
import openvino as ov
import pytest
from decode_steps import EXACT
from onnx_graphs import FORMS, K

from scap_ov.backends import onnx as backend
from scap_ov.config import SparsityConfig
from scap_ov.custom_ops.formats import planes
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.passes.onnx.find_sites import find_sites, fingerprint
from scap_ov.passes.onnx.remove_sparsity import RemoveSparsity, match_patterns
from scap_ov.passes.openvino import find_sites as openvino_sites
from scap_ov.passes.openvino.half_reads import is_of
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity as RemoveFromOpenvino
from scap_ov.passes.rules.match_pattern import match_patterns as match_openvino
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.runtime import register

LOW, HIGH, CENTER = 0.4, 1.5, 0.2
EIGHT_BITS = [name for name in FORMS if "8" in name and "16" not in name]


def graded(opened, **options):
    (match,) = find_sites(opened.graph_model, lm_head=True).matches
    low, center, high = (np.full(1, v, np.float32) for v in (LOW, CENTER, HIGH))
    entry = SitePlan(match.site.name, low, center, 0.5, np.linspace(-1, 1, match.site.out_features, dtype=np.float32), high, 0.2, 0.6)
    return SparsityPlan(SparsityConfig(**options), fingerprint(opened.graph_model), (match.site,), {entry.site: entry}), match


def expected(form, match, x):
    """In float64: x where it is kept, the centre where not, less what the high plane misses of what is read by half."""
    x = x.astype(np.float64)
    change = x.astype(np.float32) - np.float32(CENTER)
    distance = np.abs(change)
    keep, half = distance > np.float32(LOW), (distance > np.float32(LOW)) & (distance <= np.float32(HIGH))
    (y,) = form.dense(np.where(keep, x, np.float32(CENTER)))
    (weight,) = match.weights
    missed = planes.split(weight.raw(), planes.step_group(weight.spec.group_size, K)).missed() * weight.scales()
    alpha = form.dense(np.eye(K))[0] - form.dense(np.zeros((1, K)))[0]  # the factor of a Gemm is in here
    factor = np.abs(alpha).max() / np.abs(form.weights[0]).max()
    return y - factor * (np.where(half, change, 0).astype(np.float64) @ missed.T) + np.linspace(-1, 1, len(missed))


@pytest.mark.parametrize("kind", ["portable", "function"])
@pytest.mark.parametrize("name", EIGHT_BITS)
def test_onnxruntime_and_openvino_compute_what_they_should(name, kind, tmp_path):
    form = FORMS[name]()
    opened = open_onnx(form.proto)
    plan, match = graded(opened, rows="decode", replace="always")
    sparse = backend.rewrite(opened, plan, kind, {})
    onnx.save(sparse, tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((1, 1, K)).astype(form.dtype)
    want = expected(form, match, x)
    size = 1e-4 * np.abs(want).max() + 1e-4
    np.testing.assert_allclose(OnnxSession(open_onnx(sparse)).run({"x": x})["y0"], want, atol=size)
    if "nbits" in name.lower():
        return  # OpenVINO has no such operator
    core = ov.Core()
    register(core)
    read = core.read_model(tmp_path / "m.onnx")
    np.testing.assert_allclose(core.compile_model(read, "CPU", EXACT)([x])[0], want, atol=size)
    (found,) = match_openvino(read)
    assert found.whole_threshold.tolist() == [np.float32(HIGH)]
    half = found.layers[0].half
    stock = RemoveFromOpenvino()(core.read_model(tmp_path / "m.onnx")).model
    assert is_of(half, openvino_sites.find_sites(stock, lm_head=True).matches[0].weights[0])


@pytest.mark.parametrize("kind", ["portable", "function"])
def test_rows_of_a_prompt_are_exactly_those_of_the_stock_model(kind):
    form = FORMS[EIGHT_BITS[0]]()
    opened = open_onnx(form.proto)
    plan, _ = graded(opened, rows="decode", max_sparse_rows=2)
    x = np.random.default_rng(0).standard_normal((1, 3, K)).astype(np.float32)
    stock, sparse = OnnxSession(opened), OnnxSession(open_onnx(backend.rewrite(opened, plan, kind, {})))
    np.testing.assert_array_equal(stock.run({"x": x})["y0"], sparse.run({"x": x})["y0"])
    everywhere = open_onnx(backend.rewrite(opened, replace(plan, config=SparsityConfig(rows="all")), kind, {}))
    first = OnnxSession(everywhere).run({"x": x})["y0"][:, :1]
    np.testing.assert_array_equal(stock.run({"x": x})["y0"][:, :1], first, "the first position is computed dense")


def test_taken_out_again_nothing_is_left():
    form = FORMS[EIGHT_BITS[0]]()
    opened = open_onnx(form.proto)
    before = [node.op_type for node in opened.graph_model.graph]
    copy = open_onnx(backend.rewrite(opened, graded(opened)[0], "function", {}))
    RemoveSparsity()(copy.graph_model)
    assert [node.op_type for node in copy.graph_model.graph] == before
    assert not match_patterns(copy.graph_model)
    assert [output.name for output in copy.graph_model.graph.outputs] == ["y0"]
