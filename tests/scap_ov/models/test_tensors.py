"""Numbers pass between numpy and OpenVINO as what they are, bfloat16 too; further outputs come as a new model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import tiny_models as tiny
from openvino import opset13 as ops

import scap_ov
from scap_ov.models.tensors import array_of, as_f32, fed, port_name, rebuilt

VALUES = np.array([[1.5, -2.25, 0.0, 3.0e4, np.inf, np.nan]], np.float32)


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f64", "f32"])
def test_there_and_back(dtype):
    x = ops.parameter([-1, 6], getattr(ov.Type, dtype), name="x")
    model = ov.Model([ops.reshape(x, np.array([6, -1]), special_zero=False)], [x], "m")
    request = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    values = np.where(np.isinf(VALUES), 7, VALUES) if dtype == "f64" else VALUES  # the plugin clamps f64 to the range of f32
    request.infer(fed({"x": values}, model.inputs))
    rounding = {"bf16": 2.0**-8, "f16": 2.0**-11}.get(dtype, 0)
    np.testing.assert_allclose(array_of(request.get_output_tensor(0)).astype(np.float32).T, values, rtol=rounding)


def test_bfloat16_is_rounded_to_the_nearest():
    x = ops.parameter([4], ov.Type.bf16, name="x")
    given = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-16, -1 - 2.0**-9], np.float32)
    tensor = fed({"x": given}, ov.Model([ops.relu(x)], [x], "m").inputs)[0]
    np.testing.assert_array_equal(array_of(tensor), np.float32([1, 1 + 2.0**-6, 1 + 2.0**-7, -1]))  # ties to even


def test_inputs_without_a_name_go_by_their_node():
    x = ops.parameter([1], np.float32, name="given")
    model = ov.Model([ops.relu(x)], [x], "m")
    assert port_name(model.inputs[0]) == "given"
    assert list(fed({"given": np.ones(1), "another": np.ones(1)}, model.inputs)) == [0]


def test_integers_stay_integers():
    ids = ops.parameter([1], np.int64)
    assert as_f32(ids.output(0)).get_element_type() == ov.Type.i64


def test_outputs_may_be_hung_onto_a_model_whose_order_was_asked_for():
    """add_outputs leaves the new nodes out of the order that is kept, and clone() then fails."""
    model = tiny.encoder(tiny.logits)
    layers = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    shares = [
        ops.reduce_mean(ops.convert(ops.less(ops.abs(n.input_value(0)), np.float32(0.1)), np.float32), np.array([-1])) for n in layers
    ]
    built = rebuilt(model, [share.output(0) for share in shares])
    request = ov.Core().compile_model(built.clone(), "CPU").create_infer_request()
    request.infer(fed({"input_ids": np.array([[1, 2, 3]])}, built.inputs))
    assert [list(request.get_output_tensor(i).shape) for i in range(len(layers))] == [[1, 3]] * len(layers)


def test_what_a_request_gave_is_read_in_one_place():
    """`Tensor.data` shows bfloat16 as float16. Pieces of a model that is differentiated hold f32 alone."""
    root = Path(scap_ov.__file__).parent
    found = [path for path in root.rglob("*.py") if re.search(r"get_output_tensor\([^)]*\)\.data", path.read_text(encoding="utf-8"))]
    assert [path.relative_to(root).as_posix() for path in found] == ["gradients/program.py"]
