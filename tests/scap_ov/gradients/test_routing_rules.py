"""Gradients through a layer of routed experts, against finite differences."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from expert_blocks import CLAMPED, experts_model, tokens
from openvino import opset13 as ops

from scap_ov.gradients.gradient import gradients

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.mark.parametrize(("clamped", "apart"), [(False, False), (True, False), (False, True)])
def test_of_tokens_and_of_the_router(clamped, apart):
    """The sum of the outputs, weighted at random, moves by gradient · step; no choice flips for so small a step."""
    built = experts_model("f32", k=8, n=4, apart=apart, activation=CLAMPED if clamped else None, biased=clamped)
    model = built.model
    x, scores = model.get_parameters()
    y = model.outputs[0].get_node().input_value(0)
    rng = np.random.default_rng(1)
    seed = rng.standard_normal((6, 8)).astype(np.float32)
    wanted = [x.output(0), scores.output(0)]
    found = gradients(model.get_ordered_ops(), [(y, ops.constant(seed).output(0))], wanted)
    compiled = ov.Core().compile_model(ov.Model([y, *found], [x, scores], "gradient"), "CPU", EXACT)
    at = tokens(2, 3, k=8)
    result = compiled(at)
    for port, step in enumerate([1e-3, 1e-3], start=1):
        direction = rng.standard_normal(at[port - 1].shape)
        values = []
        for sign in (1, -1):
            moved = [v.astype(np.float64) for v in at]
            moved[port - 1] += sign * step * direction
            values.append((built.answer(*moved)[0] * seed).sum())
        expected = (values[0] - values[1]) / (2 * step)
        assert (result[port] * direction).sum() == pytest.approx(expected, rel=2e-3, abs=1e-3)
