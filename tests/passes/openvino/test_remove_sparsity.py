"""Taking the pattern out gives the stock model again; tests answer to RemoveSparsity's rules."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from pruned_layers import infer, one_site, plan_of
from small_llm import small_llm
from weight_forms import matmul, store

from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity, replace_output
from scap_ov.passes.rules.match_pattern import match_patterns

K, N = 64, 40


def shape_of_graph(model):
    """Kind and name of every node that is no constant."""
    return sorted((n.get_type_name(), n.get_friendly_name()) for n in model.get_ordered_ops() if n.get_type_name() != "Constant")


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_the_graph_is_what_it_was(rows):
    llm = small_llm()
    before = shape_of_graph(llm)
    model = InsertSparsity(plan_of(llm, 0.5, center=0.1, rows=rows, compensation=np.ones))(llm).model
    assert len(match_patterns(model)) == 9
    result = RemoveSparsity()(model)
    assert result.modified
    assert shape_of_graph(model) == before


def test_rule_1_the_compensation_goes_too():
    built = one_site(["f32"], [N], K)
    x = np.random.default_rng(0).standard_normal((1, 2, K)).astype(np.float32)
    expected = infer(built.model, [x])[0]
    model = InsertSparsity(plan_of(built.model, 0.5, compensation=np.ones))(built.model).model
    assert np.abs(infer(model, [x])[0] - expected).max() > 0.5
    RemoveSparsity()(model)
    np.testing.assert_array_equal(infer(model, [x])[0], expected)
    assert model.outputs[0].get_names() == {"y0"}


def test_rule_2_a_second_run_changes_nothing():
    built = one_site(["f32"], [N], K)
    assert not RemoveSparsity()(built.model).modified
    model = InsertSparsity(plan_of(built.model, 0.5))(built.model).model
    RemoveSparsity()(model)
    assert not RemoveSparsity()(model).modified


def test_paths_between_site_and_layer_stay():
    x = ops.parameter(ov.PartialShape([-1, -1, K]), np.float16, name="x")
    flat = ops.reshape(x, np.array([-1, K]), special_zero=False)
    layer = matmul(ops.convert(flat, np.float32), store(N, K, "f32", np.random.default_rng(0)), "fc")
    model = ov.Model([ops.result(layer)], [x], "m")
    InsertSparsity(plan_of(model, 0.5))(model)
    RemoveSparsity()(model)
    assert [n.get_type_name() for n in model.get_ordered_ops() if n.get_type_name() != "Constant"] == [
        "Parameter", "Reshape", "Convert", "MatMul", "Result",
    ]  # fmt: skip


def test_replace_output_moves_readers_and_names():
    x = ops.parameter([2], np.float32)
    old, new = ops.abs(x), ops.negative(x)
    old.output(0).get_tensor().set_names({"y"})
    model = ov.Model([ops.result(old)], [x], "m")
    replace_output(old.output(0), new.output(0))
    model.validate_nodes_and_infer_types()  # as every pass does at its end
    assert model.outputs[0].get_names() == {"y"}
    assert model.results[0].input_value(0).get_node().get_type_name() == "Negative"
