"""Models of other shapes are calibrated like language models: scores, embeddings as input, narrow float types, ONNX too."""

from __future__ import annotations

import nncf
import numpy as np
import onnx_ir as ir
import openvino as ov
import pytest
import tiny_models as tiny
from onnx_graphs import K, OnnxGraphBuilder
from openvino import opset13 as ops

import scap_ov
from scap_ov.errors import BadDatasetError, BadModelError
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.onnx_session import OnnxSession

BFLOAT16 = ir.DataType.BFLOAT16


def losses(model, samples, name="input_ids"):
    profile = scap_ov.calibrate(model, nncf.Dataset([{name: sample} for sample in samples]))
    return {site: float(np.max(table["loss"])) for site, table in profile.sensitivity.items()}


def squeezed(hidden, weights):
    return ops.squeeze(tiny.linear(hidden, weights, 1), np.array([-1]))


HEADS = {
    "one column": lambda h, w: {"logits": tiny.linear(ops.reduce_mean(h, np.array([1]), False), w, 1)},
    "score": lambda h, w: {"score": ops.squeeze(tiny.linear(ops.reduce_mean(h, np.array([1]), False), w, 1), np.array([-1]))},
    "question": lambda h, w: {"start_logits": squeezed(h, w), "end_logits": squeezed(h, w)},
    "f16": lambda h, w: {"hidden": ops.convert(h, np.float16)},
    "f64": lambda h, w: {"hidden": ops.convert(h, np.float64)},
    "mask first": lambda h, w: {"mask": ops.greater(h, np.float32(0)), "hidden": h},
}


@pytest.mark.parametrize("head", HEADS)
def test_every_site_has_a_loss(head):
    found = losses(tiny.encoder(HEADS[head]), tiny.token_samples())
    assert len(found) >= 4
    assert all(loss > 1e-9 for name, loss in found.items() if name.startswith("block")), found


def test_nothing_to_compare_is_told():
    with pytest.raises(BadModelError, match="no output of the model is of floating point numbers"):
        losses(tiny.encoder(lambda h, w: {"label": ops.convert(h, np.int64)}), tiny.token_samples())


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["logits", "hidden"])
def test_outputs_that_are_not_finite_are_told(name, odd):
    """Losses of NaN gave a plan without entries; -inf is what models rule tokens out by."""
    added = ops.constant(np.where(np.arange(tiny.VOCABULARY) == 3, odd, 0).astype(np.float32))
    model = tiny.encoder(lambda h, w: {name: ops.add(tiny.linear(h, w, tiny.VOCABULARY), added)})
    with pytest.raises(BadDatasetError, match="the model's output holds NaN or infinite values"):
        losses(model, tiny.token_samples(2))


def test_data_on_which_nothing_changes_is_told_of(caplog):
    losses(tiny.encoder(tiny.logits), [np.full((1, 6), 5)] * 2)
    assert "the model's output does not change on this data" in caplog.text


@pytest.mark.parametrize("batch", [1, 2])
def test_embeddings_as_input(batch):
    weights = tiny.Weights()
    x = tiny.parameter("inputs_embeds", [-1, -1, tiny.HIDDEN], np.float32)
    model = ov.Model([tiny.named(tiny.linear(tiny.ffn(x, weights), weights, 100), "logits")], [x], "m")
    samples = [weights.rng.standard_normal((batch, 9, tiny.HIDDEN)).astype(np.float32) for _ in range(4)]
    assert losses(model, samples, "inputs_embeds").keys() == {"block.0.up", "block.0.down", "lm_head"}


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_narrow_logits_are_compared_as_wide_ones(dtype):
    wide = losses(tiny.encoder(tiny.logits), tiny.token_samples())
    narrow = losses(tiny.encoder(lambda h, w: {"logits": ops.convert(tiny.logits(h, w)["logits"], dtype)}), tiny.token_samples())
    assert narrow.keys() == wide.keys()
    np.testing.assert_allclose(list(narrow.values()), list(wide.values()), rtol=0.05)


@pytest.mark.parametrize("inputs", ["f32", "bf16"])
def test_bfloat16_activations_are_seen_as_they_are(inputs):
    """Their bits were taken for float16."""
    rng = np.random.default_rng(0)
    data = [rng.standard_normal((1, 32, 64)).astype(np.float32) for _ in range(4)]
    rows = []
    for dtype in ("f32", "bf16"):
        x = tiny.parameter("x", [-1, -1, 64], getattr(ov.Type, inputs if dtype == "bf16" else "f32"))
        weight = ops.constant(np.eye(64, dtype=np.float32))
        weight = ops.convert(weight, dtype)
        y = ops.relu(ops.matmul(ops.convert(x, dtype), weight, False, True))
        model = ov.Model([tiny.named(ops.convert(y, np.float32), "y")], [x], "m")
        profile = scap_ov.calibrate(model, nncf.Dataset(data, lambda a: {"x": a}))
        (statistics,) = profile.statistics.values()
        rows.append(np.sort(np.abs(statistics.rows).ravel()))
    np.testing.assert_allclose(*rows, rtol=2.0**-7, atol=1e-6)


def test_onnx_gives_and_takes_bfloat16():
    d = OnnxGraphBuilder()
    x = d.input("x", ["b", "t", K])
    y = d.op("Cast", d.op("MatMul", x, d.weight("w", K, K)), to=BFLOAT16.value)
    y.type = ir.TensorType(BFLOAT16)
    model = open_onnx(d.proto({"y": y}))
    given = np.random.default_rng(0).standard_normal((1, 3, K)).astype(np.float32)
    found = OnnxSession(model).run({"x": given})["y"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, given @ d.initializers[0].const_value.numpy(), rtol=2.0**-7, atol=1e-2)


def test_onnx_keeps_nan():
    """A broken activation is not hidden by pruning, in ONNX as in OpenVINO."""
    d = OnnxGraphBuilder()
    x = d.input("x", ["b", "t", K])
    y = d.op("MatMul", d.op("Relu", d.op("MatMul", x, d.weight("w", K, K))), d.weight("v", K, K))
    proto = d.proto({"y": y})
    rng = np.random.default_rng(0)
    data = nncf.Dataset([{"x": rng.standard_normal((1, 16, K)).astype(np.float32)} for _ in range(4)])
    broken = rng.standard_normal((1, 2, K)).astype(np.float32)
    broken[0, 1, 3] = np.nan
    for form in ("portable", "function"):
        pruned = scap_ov.apply(proto, data, scap_ov.SparsityConfig(rows="all"), form=form)
        found = OnnxSession(open_onnx(pruned)).run({"x": broken})["y"]
        assert np.isnan(found[0, 1]).all()
        assert np.isfinite(found[0, 0]).all()
