"""Gradients of OpenVINO graphs against central differences. Imported by tests."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from scap_ov.gradients.gradient import gradients

RNG = np.random.default_rng(7)


def parameter(shape, name):
    made = ops.parameter(ov.PartialShape(shape), np.float32, name=name)
    made.output(0).get_tensor().set_names({name})
    return made


def check(build, shapes, tolerance=2e-3):
    """Compare the gradient of Σ weight·output with central differences, for every input.

    :param build: parameters -> output node.
    :param shapes: pairs of the graph's shape (-1 where dynamic) and the shape of the values.
    """
    parameters = [parameter(shape, f"x{i}") for i, (shape, _) in enumerate(shapes)]
    output = build(*parameters).output(0)
    seed = ops.parameter(ov.PartialShape.dynamic(len(output.get_partial_shape())), np.float32, name="seed")
    seed.output(0).get_tensor().set_names({"seed"})
    plain = ov.Model([output], parameters, "plain")
    found = gradients(plain.get_ordered_ops(), [(output, seed.output(0))], [p.output(0) for p in parameters])
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    both = ov.Core().compile_model(ov.Model([output, *found], [*parameters, seed]), "CPU", exact)
    values = [RNG.standard_normal(size).astype(np.float32) for _, size in shapes]
    one = ov.Core().compile_model(ov.Model([output], parameters), "CPU", exact)
    weight = RNG.standard_normal(one(values)[0].shape).astype(np.float32)
    result = both([*values, weight])
    for index, value in enumerate(values):
        got = result[index + 1]
        assert got.shape == value.shape
        direction = got + 0.3 * np.abs(got).mean() * RNG.standard_normal(value.shape)
        direction = (direction / np.linalg.norm(direction)).astype(np.float32)
        step = 1e-2
        sides = []
        for sign in (1, -1):
            moved = [v + sign * step * direction if i == index else v for i, v in enumerate(values)]
            sides.append(float((one(moved)[0].astype(np.float64) * weight).sum()))
        assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(
            float((got * direction).sum(dtype=np.float64)), rel=tolerance * 10, abs=tolerance
        )
