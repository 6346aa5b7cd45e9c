"""One compiled model: outputs by the names they are given, a state that is begun anew, inputs by any of their names."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from scap_ov.models.openvino_session import OpenVINOSession


def summing():
    """y = the sum of all x since the sequence began, and twice that."""
    x = ops.parameter([1, 2], np.float32, name="x")
    x.output(0).set_names({"x", "alias"})
    info = ov.op.util.VariableInfo()
    info.data_shape, info.data_type, info.variable_id = ov.PartialShape([1, 2]), ov.Type.f32, "sum"
    variable = ov.op.util.Variable(info)
    total = ops.add(ops.read_value(ops.constant(np.zeros((1, 2), np.float32)), variable), x)
    return ov.Model([total.output(0), ops.multiply(total, np.float32(2)).output(0)], [ops.assign(total, variable)], [x], "summing")


def test_a_sequence_goes_on_until_the_next_begins():
    session = OpenVINOSession(summing(), [("y", 1), "double"])
    assert session.stateful
    one = np.ones((1, 2), np.float32)
    for expected in (1, 2):
        given = session.run({"alias": one, "unknown": one})
        np.testing.assert_array_equal(given["y", 1], expected * one)
        np.testing.assert_array_equal(given["double"], 2 * expected * one)
    session.start()
    np.testing.assert_array_equal(session.run({"x": one}, share=True)["y", 1], one)


def test_what_does_not_fit_is_a_runtime_error():
    with pytest.raises(RuntimeError):
        OpenVINOSession(summing(), ["y", "double"]).run({"x": np.ones((1, 3), np.float32)})
