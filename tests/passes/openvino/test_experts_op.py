"""The op of routed experts as OpenVINO sees it: built from packed layers, read back bit for bit, computed; a sentence for wrong input."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import pytest
from experts_reference import ExpertsOperands, sparse_experts
from openvino import opset13 as ops
from random_experts import random_experts, stage_of

from scap_ov.errors import UsageError
from scap_ov.passes.openvino.experts_op import OP, Experts, Stage, build, joined_name, names_of, read
from scap_ov.passes.openvino.packed_site import unpack_site
from scap_ov.passes.openvino.sparse_op import creator
from scap_ov.runtime import register


def experts_of(o: ExpertsOperands) -> Experts:
    stages = stage_of(o.up, o.up_bias), stage_of(o.down, o.down_bias)
    return Experts(*stages, o.gate_up, o.activation, o.alpha, o.limit, o.rows, o.max_sparse_rows)


def node_of(o: ExpertsOperands, **changed: Any) -> tuple[ov.Node, list[ov.Node]]:
    inputs = [
        ops.parameter([-1, -1, o.x.shape[1]], o.x.dtype.type),
        ops.parameter([-1, o.ids.shape[1]], o.ids.dtype.type),
        ops.parameter([-1, o.ids.shape[1]], np.float32),
    ]
    create = creator(OP)

    def make(values: list[Any], attributes: dict[str, Any]) -> ov.Node:
        return create(values, {**attributes, **changed})

    outputs = [parameter.output(0) for parameter in inputs]
    return build(make, *outputs, experts_of(o), dynamic_quantization=o.dynamic_quantization), inputs


@pytest.mark.parametrize(
    ("weight_type", "gate_up", "bias"),
    [("i4", "halves", False), ("u8", "interleaved", True), ("f16", "halves", True), ("planes", "halves", False)],
)
def test_what_went_in_is_read_back_bit_for_bit(weight_type: str, gate_up: str, bias: bool) -> None:
    form = {"weight_type": "i8", "step_group": 16} if weight_type == "planes" else {"weight_type": weight_type}
    o = random_experts(**form, bias=bias, gate_up=gate_up, activation="clamped_swiglu", alpha=1.5, limit=7.0)
    given, found = experts_of(o), read(node_of(o)[0])
    for stage, again in ((given.up, found.up), (given.down, found.down)):
        for name in ("center", "threshold", "whole_threshold", "base", "bias"):
            np.testing.assert_array_equal(getattr(again, name), getattr(stage, name))
        for site, site_again in zip(stage.sites, again.sites, strict=True):
            for layer, layer_again in zip(unpack_site(site), unpack_site(site_again), strict=True):
                for name in ("raw", "scale", "zero_point"):
                    np.testing.assert_array_equal(getattr(layer_again, name), getattr(layer, name))
    assert (found.gate_up, found.activation, found.alpha, found.limit) == (gate_up, "clamped_swiglu", 1.5, 7.0)


@pytest.mark.parametrize("x_dtype", [np.float32, np.float16])
@pytest.mark.parametrize("rows", ["decode", "all"])
def test_compiled_op_computes_the_reference(x_dtype: type, rows: str) -> None:
    """Any number of tokens, in the layouts of both attention back ends; position 0 of a prompt of rank 3 stays dense with `all`."""
    register(core := ov.Core())
    compiled: dict[str, ov.CompiledModel] = {}
    for tokens, positions in ((1, 1), (3, 1), (0, 1), (12, 12), (12, 1)):
        o = random_experts("i8", tokens=tokens, x_dtype=x_dtype, rows=rows, positions=positions, bias=True, dynamic_quantization=True)
        if not compiled:
            node, inputs = node_of(o)
            compiled["op"] = core.compile_model(ov.Model([node], inputs), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        shape = (1, tokens, o.x.shape[1]) if positions > 1 else (tokens, 1, o.x.shape[1])
        y = compiled["op"]([o.x.reshape(shape), o.ids, o.routing])[0].reshape(tokens, o.down[0].n)
        expected, allowed = sparse_experts(o)
        assert y.dtype == x_dtype
        assert (np.abs(y - expected) <= allowed).all()


def test_an_unknown_expert_is_refused_when_the_op_runs() -> None:
    register(core := ov.Core())
    o = random_experts("i8", tokens=2)
    node, inputs = node_of(o)
    o.ids[1] = 9
    with pytest.raises(RuntimeError, match="expert 9 was chosen for token 1; there are 4"):
        core.compile_model(ov.Model([node], inputs), "CPU")([o.x.reshape(2, 1, -1), o.ids, o.routing])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"experts": 0}, "experts is 0; give 1 to"),
        ({"experts": 7}, "leave none of weights, or not the same for every expert"),
        ({"up_weight_type": "i3"}, "up_weight_type is 'i3'; give one of u4, i4, "),
        ({"down_size": 0}, "down_size is 0; give 1 to"),
        ({"down_group_size": 0}, "down_group_size is 0"),
        ({"up_scale_type": "f8"}, "up_scale_type is 'f8'; give f16 or f32"),
        ({"up_sections": [1, 2]}, "entries; give the bytes of 5 and 4 sections"),
        ({"up_sections": [-1, 0, 0, 0, 0]}, "a section of up has -1 bytes"),
        ({"down_shared": [4, 8, 0, 0]}, "section threshold of down has 8 bytes"),
        ({"up_planes": 1, "up_step_group": 0}, "up_step_group is 0; give the input channels per step"),
        ({"gate_up": "sideways"}, "gate_up is 'sideways'; give halves or interleaved"),
        ({"activation": "relu"}, "activation is 'relu'; give one of silu, gelu_tanh, gelu_erf, clamped_swiglu"),
        ({"activation": "clamped_swiglu"}, "limit is 0; clamped_swiglu needs one above 0"),
        ({"rows": "some"}, "rows is 'some'; give decode or all"),
        ({"max_sparse_rows": 0}, "max_sparse_rows is 0"),
    ],
)
def test_wrong_attributes_are_refused_with_a_sentence(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        node_of(random_experts("i8", sparsity=None), **changed)
    assert sentence in str(refused.value)


def test_experts_that_differ_are_refused() -> None:
    o = random_experts("i8", experts=2)
    other = random_experts("i8", experts=2, group_size=16)
    mixed = Stage([stage_of(o.up, o.up_bias).sites[0], stage_of(other.up, o.up_bias).sites[1]], o.up[0].center, o.up[0].threshold)
    inputs = [ops.parameter([-1, 96], np.float32), ops.parameter([-1, 2], np.int64), ops.parameter([-1, 2], np.float32)]
    with pytest.raises(UsageError, match=r"expert 1 is .* expert 0 .*: the experts of a layer must have one type and size"):
        build(creator(OP), *[node.output(0) for node in inputs], Experts(mixed, stage_of(o.down, o.down_bias)), dynamic_quantization=True)


def test_the_name_carries_the_weights_that_it_replaces() -> None:
    node, _ = node_of(random_experts("i8"))
    node.set_friendly_name(joined_name("block.3.experts", ["gate", "up", "down"]))
    assert names_of(node) == ("block.3.experts", ["gate", "up", "down"])
    node.set_friendly_name("renamed")
    assert names_of(node) == ("renamed", [])
