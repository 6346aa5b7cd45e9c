"""Transposed activations become sites; tests answer to StraightenInputs' rules."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from pruned_layers import infer
from weight_forms import store

from scap_ov.backends.openvino import open_model
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.straighten_inputs import StraightenInputs

K, N = 64, 24


def turned(count=2):
    x = ops.parameter(ov.PartialShape([-1, K, -1]), np.float32, name="x")
    hidden = ops.abs(x)
    rng = np.random.default_rng(0)
    results = []
    for number in range(count):
        layer = ops.matmul(hidden, store(N, K, "i8", rng).value, True, True)
        layer.set_friendly_name(f"layer{number}")
        layer.output(0).get_tensor().set_names({f"y{number}"})
        results.append(ops.result(layer))
    return ov.Model(results, [x], "m")


def test_layers_become_one_site_and_give_the_same():
    model = turned()
    assert {reason for _, reason in find_sites(model).skipped} == {"its input is transposed (transpose_a)"}
    x = np.random.default_rng(1).standard_normal((2, K, 5)).astype(np.float32)
    expected = infer(model, [x])
    assert StraightenInputs()(model).modified
    (match,) = find_sites(model).matches
    assert sorted(layer.name for layer in match.site.layers) == ["layer0", "layer1"]
    assert sum(node.get_type_name() == "Transpose" for node in model.get_ops()) == 1
    assert [output.get_names() for output in model.outputs] == [{"y0"}, {"y1"}]
    for a, b in zip(expected, infer(model, [x]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rule_2_products_of_activations_and_left_weights_stay():
    x, y = (ops.parameter(ov.PartialShape([-1, K, -1]), np.float32, name=name) for name in "xy")
    left = ops.matmul(np.ones((K, N), np.float32), x, True, False)
    model = ov.Model([ops.result(ops.matmul(x, y, True, False)), ops.result(left)], [x, y], "m")
    assert not StraightenInputs()(model).modified


def test_rule_3_a_second_run_changes_nothing():
    model = turned()
    StraightenInputs()(model)
    assert not StraightenInputs()(model).modified


def test_the_callers_model_is_not_changed():
    model = turned()
    opened = open_model(model).model
    assert len(find_sites(opened).matches) == 1
    assert find_sites(model).matches == []
    assert open_model(opened).model is opened
