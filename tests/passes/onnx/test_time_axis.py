"""ONNX models that compute in [T, B, K]: the same row stays dense, and the same rows are observed, as in [B, T, K]."""

from __future__ import annotations

import nncf
import numpy as np
import pytest
from onnx_graphs import K, OnnxGraphBuilder

import scap_ov
from scap_ov.calibration.run_onnx import observe
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.passes.onnx.find_sites import find_sites
from scap_ov.passes.onnx.time_axis import time_first

VOCABULARY = 50


def model(*, turned):
    d = OnnxGraphBuilder(opset=18)
    hidden = d.op("Gather", d.weight("table", VOCABULARY, K), d.input("input_ids", ["batch", "length"], np.int64))
    hidden = d.op("Transpose", hidden, perm=[1, 0, 2]) if turned else hidden
    hidden = d.op("Add", hidden, d.op("MatMul", d.op("Tanh", d.op("MatMul", hidden, d.weight("u", K, K))), d.weight("d", K, K)))
    hidden = d.op("Transpose", hidden, perm=[1, 0, 2]) if turned else hidden
    return d.proto({"logits": d.op("MatMul", hidden, d.weight("head", K, VOCABULARY))})


def samples(batch, length):
    rng = np.random.default_rng(0)
    return nncf.Dataset([{"input_ids": rng.integers(0, VOCABULARY, (batch, length))} for _ in range(3)])


@pytest.mark.parametrize("turned", [False, True])
def test_every_site(turned):
    graph = open_onnx(model(turned=turned)).graph_model
    matches = find_sites(graph, lm_head=True).matches
    found = dict(zip([m.site.name for m in matches], time_first(graph, [m.source.value for m in matches]), strict=True))
    assert found.pop("lm_head") is False
    assert set(found.values()) == {turned}


@pytest.mark.parametrize(("batch", "length"), [(1, 6), (3, 4), (4, 4)])
def test_observed_rows(batch, length):
    found = [observe(open_onnx(model(turned=turned)), samples(batch, length)).statistics for turned in (False, True)]
    for name, statistics in found[0].items():
        np.testing.assert_allclose(np.sort(statistics.rows, axis=0), np.sort(found[1][name].rows, axis=0), atol=2e-3)


@pytest.mark.parametrize("form", ["portable", "function"])
def test_the_first_position_stays_dense(form):
    config = scap_ov.SparsityConfig(rows="all", replace="always")
    given = {"input_ids": np.random.default_rng(1).integers(0, VOCABULARY, (2, 6))}
    results = []
    for turned in (False, True):
        stock = model(turned=turned)
        pruned = scap_ov.apply(stock, samples(1, 9), config, form=form)
        dense, sparse = (OnnxSession(open_onnx(proto)).run(given)["logits"] for proto in (stock, pruned))
        assert (np.abs(sparse - dense).max(axis=(0, 2)) > 1e-4).tolist() == [False] + [True] * 5
        results.append(sparse)
    np.testing.assert_allclose(*results, atol=1e-4)
