"""Tensors [T, B, K] are told from [B, T, K], also where T and B are equal: observed alike, and the same row stays dense."""

from __future__ import annotations

import nncf
import numpy as np
import openvino as ov
import pytest
import tiny_models as tiny
from openvino import opset13 as ops

import scap_ov
from scap_ov.calibration.observe import observe
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.time_axis import time_first


@pytest.mark.parametrize("first", [False, True])
def test_every_site(first):
    model = tiny.encoder(tiny.logits, hidden_first=first)
    matches = find_sites(model, lm_head=True).matches
    found = dict(zip([m.site.name for m in matches], time_first(model, [m.source for m in matches]), strict=True))
    assert found.pop("lm_head") is False  # which the hidden states reach turned back
    assert set(found.values()) == {first}


def test_values_that_depend_on_more_than_the_models_parameters():
    """As those of a graph that settings were hung onto."""
    model = tiny.encoder(tiny.logits, hidden_first=True)
    (up, *_) = find_sites(model).matches
    setting = ops.parameter([1, 1, tiny.HIDDEN], np.float32)
    assert time_first(model, [ops.add(up.source, setting).output(0)]) == [True]


@pytest.mark.parametrize(("batch", "length"), [(1, 8), (3, 5), (4, 4)])
def test_observed_rows(batch, length):
    rows = []
    for first in (False, True):
        data = nncf.Dataset([{"input_ids": ids} for ids in tiny.token_samples(3, length, batch)])
        statistics = observe(tiny.encoder(tiny.logits, hidden_first=first), data).statistics
        rows.append({name: np.sort(s.rows, axis=0) for name, s in statistics.items()})
    assert rows[0].keys() == rows[1].keys()
    for name, values in rows[0].items():
        np.testing.assert_allclose(values, rows[1][name], atol=2e-3)


@pytest.mark.parametrize("form", ["portable", "lowered"])
def test_the_first_position_stays_dense(form):
    """With rows=all: the same outputs as of the model that has the batch first."""
    data = [{"input_ids": ids} for ids in tiny.token_samples()]
    config = scap_ov.SparsityConfig(rows="all", replace="always")
    given, exact = {"input_ids": tiny.token_samples(1, 6, 2)[0]}, {"INFERENCE_PRECISION_HINT": "f32"}
    core = ov.Core()
    scap_ov.register(core)
    results = []
    for first in (False, True):
        model = tiny.encoder(tiny.logits, hidden_first=first)
        stock = core.compile_model(model, "CPU", exact)(given)[0]
        pruned = core.compile_model(scap_ov.apply(model, nncf.Dataset(data), config, form=form), "CPU", exact)(given)[0]
        moved = np.abs(pruned - stock).max(axis=(0, 2)) > 1e-3
        assert moved.tolist() == [False] + [True] * 5
        results.append(pruned)
    if form == "portable":  # a lowered site quantises its input to int8 where stock does not
        np.testing.assert_allclose(*results, atol=1e-4)
