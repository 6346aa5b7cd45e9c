"""What is compared is told from types and shapes, and names where those leave it open."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import openvino as ov
import pytest
from onnx_graphs import OnnxGraphBuilder
from openvino import opset13 as ops

from scap_ov.errors import BadModelError
from scap_ov.models.main_output import Loss, main_output
from scap_ov.models.onnx_model import open_onnx


def outputs(**ports):
    """:param ports: name -> (shape, type)."""
    made = []
    for name, (shape, dtype) in ports.items():
        node = ops.parameter(shape, getattr(ov.Type, dtype))
        result = (
            ops.convert(ops.negative(node), dtype) if dtype == "bf16" else ops.relu(node) if dtype != "boolean" else ops.logical_not(node)
        )
        result.output(0).get_tensor().set_names({name})
        made.append((node, result))
    return ov.Model([result for _, result in made], [node for node, _ in made], "m").outputs


@pytest.mark.parametrize(
    ("ports", "place", "loss", "width"),
    [
        ({"a": ([-1, -1, 8], "f32"), "logits": ([-1, -1, 50], "f32")}, (1,), Loss.DIVERGENCE, 50),
        ({"logits": ([-1, 2], "bf16")}, (0,), Loss.DIVERGENCE, 2),
        ({"logits": ([-1, 1], "f32")}, (0,), Loss.SQUARES, 1),
        ({"logits": ([-1], "f32")}, (0,), Loss.SQUARES, 1),
        ({"start_logits": ([-1, -1], "f32"), "end_logits": ([-1, -1], "f32")}, (0, 1), Loss.SQUARES, 1),
        ({"logits_per_image": ([-1, -1], "f32"), "embeds": ([-1, 8], "f32")}, (1,), Loss.COSINE, 8),
        ({"label": ([-1, 1], "i64"), "pooled": ([-1, 8], "f64")}, (1,), Loss.COSINE, 8),
        ({"mask": ([-1, -1, 8], "boolean"), "hidden": ([-1, -1, 8], "f16")}, (1,), Loss.COSINE, 8),
        ({"present.0.key": ([-1, 2, -1, 16], "f32"), "hidden": ([-1, -1, 8], "f32")}, (1,), Loss.COSINE, 8),
        ({"state": ([-1, 2, -1, 16], "f32"), "hidden": ([-1, -1, 8], "f32")}, (1,), Loss.COSINE, 8),
        ({"noise": ([-1, 4, -1, 8], "f32")}, (0,), Loss.COSINE, 8),
        ({"Identity": ([-1, -1, 99], "f32")}, (0,), Loss.DIVERGENCE, 99),
        ({"present.0": ([-1, 2, -1, 16], "f32")}, (0,), Loss.COSINE, 16),
    ],
)
def test_choice(ports, place, loss, width):
    found = main_output(outputs(**ports), vocabularies=[99])
    assert (found.places, found.loss, found.width) == (place, loss, width)


def constant_outputs():
    """Outputs of a model that no pruning changes, by name: constants, what is made of shapes, an input as it is."""
    x = ops.parameter([-1, -1, 8], ov.Type.f16)
    half = np.ones((1, 4, 8), np.float16)
    ones = ops.broadcast(ops.constant(np.float32(1)), ops.shape_of(x))
    return x, {
        "constant": ops.constant(half.astype(np.float32)),
        "converted": ops.convert(ops.constant(half), np.float32),
        "computed": ops.add(ops.constant(half), ops.constant(half)),
        "of_shape": ones,
        "given_back": ops.convert(x, np.float32),
    }


@pytest.mark.parametrize("name", constant_outputs()[1])
def test_rule_4_what_no_pruning_changes_is_passed_over(name):
    x, fixed = constant_outputs()
    results = {name: fixed[name], "hidden": ops.relu(x), "present.0.key": ops.relu(x)}
    for label, node in results.items():
        node.output(0).get_tensor().set_names({label})
    model = ov.Model([ops.result(node) for node in results.values()], [x], "m")
    assert main_output(model.outputs).places == (1,)
    assert main_output([model.outputs[0], model.outputs[2]]).places == (1,)
    with pytest.raises(BadModelError, match=rf"no output of floating point numbers depends on an input \({name}\)"):
        main_output(model.outputs[:1])


def test_rule_4_in_onnx():
    d = OnnxGraphBuilder()
    x = d.input("x", ["b", "t", 8])
    y = d.op("MatMul", x, d.weight("w", 8, 8))
    ones = d.op("ConstantOfShape", d.op("Shape", x), value=ir.tensor(np.ones(1, np.float32)))
    outputs = open_onnx(
        d.proto({"logits": ones, "cast": d.op("Cast", d.weight("v", 4, 8), to=1), "back": d.op("Cast", x, to=1), "y": y})
    ).outputs
    assert main_output(outputs).places == (3,)
    with pytest.raises(BadModelError, match="depends on an input"):
        main_output(outputs[:3])


def test_a_state_is_an_input():
    x = ops.parameter([1, 8], ov.Type.f32)
    kept = ops.read_value(ops.constant(np.zeros((1, 8), np.float32)), "state", ov.Type.f32, ov.PartialShape([1, 8]))
    model = ov.Model([ops.result(ops.relu(kept))], [ops.assign(ops.add(kept, x), "state")], [x], "m")
    assert main_output(model.outputs).places == (0,)


def test_nothing_to_compare():
    with pytest.raises(BadModelError, match=r"no output of the model is of floating point numbers \(label i64\)"):
        main_output(outputs(label=([-1], "i64")))
