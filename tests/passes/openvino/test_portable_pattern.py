"""The pieces that PatternWriter is made of. What the pattern computes: test_insert_sparsity."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from pruned_layers import infer

from scap_ov.passes.openvino.portable_pattern import PatternWriter, as_type, follow
from scap_ov.passes.rules.path import path_between

K = 8


def test_path_between_is_in_the_order_of_running():
    x = ops.parameter(ov.PartialShape([-1, 1, K]), np.float32)
    flat = ops.squeeze(x, np.array([1]))
    narrow = ops.convert(flat, np.float16)
    layer = ops.matmul(narrow, np.ones((4, K), np.float16), False, True)
    path = path_between(layer, x.output(0))
    assert [node.get_type_name() for node in path] == ["Squeeze", "Convert"]
    assert path_between(layer, narrow.output(0)) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda x: ops.reshape(x, np.array([-1, K]), special_zero=False),
        lambda x: ops.reshape(x, np.array([0, 1, -1, K]), special_zero=True),
        lambda x: ops.unsqueeze(x, np.array([0])),
        lambda x: ops.squeeze(ops.unsqueeze(x, np.array([0])), np.array([0])),
        lambda x: ops.convert(ops.convert(x, np.float16), np.float32),
    ],
    ids=["reshape", "special zero", "unsqueeze", "squeeze", "convert"],
)
def test_follow_repeats_a_path_on_another_value(make):
    x, y = (ops.parameter(ov.PartialShape([-1, -1, K]), np.float32, name=name) for name in "xy")
    end = make(x)
    path, value = [], end.output(0)
    while value.get_node().get_instance_id() != x.get_instance_id():
        path.insert(0, value.get_node())
        value = value.get_node().input_value(0)
    model = ov.Model([ops.result(end), ops.result(follow(y.output(0), path))], [x, y], "m")
    values = np.random.default_rng(0).standard_normal((2, 3, K)).astype(np.float32)
    one, two = infer(model, [values, values])
    assert one.shape == two.shape
    np.testing.assert_array_equal(one, two)


def test_as_type_knows_bf16():
    assert as_type(ops.parameter([1], np.float32).output(0), ov.Type.bf16).get_element_type() == ov.Type.bf16


@pytest.mark.parametrize(("rows", "count"), [("decode", 1), ("all", 1), ("every", 0)])
def test_shapes_are_asked_for_once(rows, count):
    x = ops.parameter(ov.PartialShape([-1, -1, K]), np.float32, name="x")
    layer = ops.matmul(x, np.ones((4, K), np.float32), False, True)
    model = ov.Model([ops.result(layer)], [x], "m")
    PatternWriter("s", x.output(0), [layer], rows, 4).write(ops.constant(np.float32(0.5)).output(0), None, None)
    assert sum(node.get_type_name() == "ShapeOf" for node in model.get_ops()) == count


def test_a_static_decode_step_needs_no_exemption():
    x = ops.parameter(ov.PartialShape([-1, 1, K]), np.float32, name="x")
    layer = ops.matmul(x, np.ones((4, K), np.float32), False, True)
    model = ov.Model([ops.result(layer)], [x], "m")
    PatternWriter("s", x.output(0), [layer], "all", 4).write(ops.constant(np.float32(0.5)).output(0), None, None)
    assert not any(node.get_type_name() in ("ShapeOf", "LogicalOr") for node in model.get_ops())
