"""What is compared is told from types and shapes, and names where those leave it open."""

from __future__ import annotations

import openvino as ov
import pytest
from openvino import opset13 as ops

from scap_ov.errors import BadModelError
from scap_ov.models.main_output import Loss, main_output


def outputs(**ports):
    """:param ports: name -> (shape, type)."""
    made = []
    for name, (shape, dtype) in ports.items():
        node = ops.parameter(shape, getattr(ov.Type, dtype))
        result = ops.convert(node, dtype) if dtype == "bf16" else ops.relu(node) if dtype != "boolean" else ops.logical_not(node)
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


def test_nothing_to_compare():
    with pytest.raises(BadModelError, match=r"no output of the model is of floating point numbers \(label i64\)"):
        main_output(outputs(label=([-1], "i64")))
