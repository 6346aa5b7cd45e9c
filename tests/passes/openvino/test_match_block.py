"""Which blocks one op can stand for: what is found of a decoder, and what makes it another."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from pruned_layers import plan_of
from small_llm import SHAPE, small_llm

from scap_ov.backends.openvino import rewrite
from scap_ov.passes.openvino.match_block import match_block
from scap_ov.passes.openvino.sparse_op import names_of


def lowered(**config) -> ov.Model:
    model = small_llm("i8")
    return rewrite(model, plan_of(model, 0.2, lm_head=False, **config), "lowered", {})


def blocks_of(model: ov.Model):
    """Of a clone, which has no nodes that only this test still holds."""
    return [found for found in map(match_block, model.clone().get_ordered_ops()) if found is not None]


def of_kind(model: ov.Model, kind: str) -> list[ov.Node]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == kind]


def site(model: ov.Model, name: str) -> ov.Node:
    return next(node for node in of_kind(model, "SparseMatMul") if names_of(node)[0] == name)


def test_every_block_of_a_decoder_is_found():
    model = lowered()
    first, last = blocks_of(model)
    assert list(first.block.parts) == ["o", "up", "down", "next"]
    assert [names_of(site(model, name))[0] for name in ("block.0.o", "block.1.qkv")] == ["block.0.o", "block.1.qkv"]
    assert first.block.parts["next"].name == site(model, "block.1.qkv").get_friendly_name()
    assert first.last.get_friendly_name() == first.block.parts["next"].name
    assert list(last.block.parts) == ["o", "up", "down"]
    assert last.last is None
    assert len(first.block.norms) == 2
    assert len(last.block.norms) == 1
    assert first.block.activation == "silu"
    for norm in (*first.block.norms, *last.block.norms):
        assert norm.gamma.shape == (SHAPE.hidden,)
        assert norm.epsilon == pytest.approx(1e-5)


def replaced(value: ov.Output, new: ov.Output, *, but: tuple[ov.Node, ...] = ()) -> None:
    for reader in list(value.get_target_inputs()):
        if reader.get_node().get_instance_id() not in {node.get_instance_id() for node in but}:
            reader.replace_source_output(new)


@pytest.mark.parametrize("name", ["block.0.o", "block.0.down"])
def test_a_bias_makes_it_another_block(name):
    model = lowered()
    node = site(model, name)
    total = ops.add(node.output(0), ops.constant(np.ones(SHAPE.hidden, np.float32)))
    replaced(node.output(0), total.output(0), but=(total,))
    assert len(blocks_of(model)) == 1


def test_something_else_reads_what_is_in_between():
    model = lowered()
    model.add_results([ops.result(of_kind(model, "Swish")[0])])
    assert len(blocks_of(model)) == 1


def test_what_attention_gave_may_be_read_elsewhere():
    model = lowered()
    model.add_results([ops.result(site(model, "block.0.o").input_value(0))])
    assert len(blocks_of(model)) == 2


def test_another_reader_of_the_last_norm_leaves_it_outside():
    model = lowered()
    model.add_results([ops.result(site(model, "block.1.qkv").input_value(0))])
    first, _ = blocks_of(model)
    assert list(first.block.parts) == ["o", "up", "down"]


def test_a_norm_of_another_axis_is_another_norm():
    model = lowered()
    mean = of_kind(model, "ReduceMean")[1]  # the first one is of the first attention
    mean.input(1).replace_source_output(ops.constant(np.array([1])).output(0))
    assert len(blocks_of(model)) == 1


def test_tensors_of_unknown_rank_are_left_alone():
    model = lowered()
    total = blocks_of(model)[0].sum.get_node().get_friendly_name()
    h1 = next(node for node in model.get_ordered_ops() if node.get_friendly_name() == total).input_value(0).get_node()
    x = ops.parameter(ov.PartialShape.dynamic(), np.float32)
    h1.input(0 if h1.input_value(1).get_node().get_type_name() == "SparseMatMul" else 1).replace_source_output(x.output(0))
    model.add_parameters([x])
    model.validate_nodes_and_infer_types()
    assert h1.get_output_partial_shape(0).rank.is_dynamic
    assert blocks_of(model) == []


def test_swish_with_another_beta_is_another_activation():
    model = lowered()
    for node in of_kind(model, "Swish"):
        replaced(node.output(0), ops.swish(node.input_value(0), ops.constant(np.float32(1.7))).output(0))
    assert blocks_of(model) == []


@pytest.mark.parametrize("mode", ["tanh", "erf"])
def test_gelu(mode):
    model = lowered()
    for node in of_kind(model, "Swish"):
        replaced(node.output(0), ops.gelu(node.input_value(0), mode).output(0))
    assert [found.block.activation for found in blocks_of(model)] == [f"gelu_{mode}"] * 2


def test_operands_in_the_other_order_and_other_spellings_of_the_root():
    model = lowered()
    for node in [*of_kind(model, "Add"), *of_kind(model, "Multiply")]:
        replaced(node.output(0), swapped(node), but=())
    for node in of_kind(model, "Divide"):
        root = node.input_value(1).get_node()
        replaced(node.output(0), ops.power(root.input_value(0), ops.constant(np.float32(-0.5))).output(0))
    assert len(blocks_of(model)) == 2


def swapped(node: ov.Node) -> ov.Output:
    make = ops.add if node.get_type_name() == "Add" else ops.multiply
    return make(node.input_value(1), node.input_value(0)).output(0)
