"""Graphs are cut at their residual stream, whatever else passes from block to block."""

from itertools import pairwise

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from scap_ov.errors import UncutError
from scap_ov.gradients.cut import Wanted, cut
from scap_ov.passes.rules.tensors import key_of


def blocks(count, *, skip=False):
    """x + f(x · scale), `count` times, where the scale is computed outside and each f reads the shape of the first block.

    :param skip: each block reads the output of the block before the last one as well.
    """
    x = ops.parameter(ov.PartialShape([-1, 4]), np.float32, name="x")
    scale = ops.exp(ops.parameter(ov.PartialShape([1, 4]), np.float32, name="scale"))
    stream, before, shape, wanted = x, x, None, []
    for number in range(count):
        own = ops.multiply(stream, scale)
        wanted.append(Wanted(f"site {number}", own.output(0), str(number)))
        shape = shape or ops.shape_of(own)
        turned = ops.reshape(ops.tanh(own), shape, special_zero=False)
        total = ops.add(stream, ops.add(turned, before) if skip else turned)
        stream, before = total, stream
    result = ops.negative(stream)
    model = ov.Model([ops.result(result)], [x, scale.input_value(0).get_node()], "blocks")
    return model, wanted, result.output(0)


def test_a_piece_for_each_block_with_the_stream_between():
    model, wanted, result = blocks(3)
    pieces = cut(model.get_ordered_ops(), wanted, [], result)
    assert [[w.name for w in p.wanted] for p in pieces] == [["site 0"], ["site 1"], ["site 2"]]
    assert [p.border.get_node().get_type_name() for p in pieces] == ["Add", "Add", "Negative"]
    assert pieces[0].entry is None
    assert all(key_of(one.border) == key_of(two.entry) for one, two in pairwise(pieces))


def test_every_node_behind_a_wanted_tensor_is_in_one_piece_and_shapes_are_handed_on():
    model, wanted, result = blocks(3)
    pieces = cut(model.get_ordered_ops(), wanted, [], result)
    nodes = [node.get_instance_id() for p in pieces for node in p.nodes]
    assert len(nodes) == len(set(nodes))
    kinds = [{v.get_node().get_type_name() for v in p.reads} for p in pieces]
    assert "ShapeOf" in kinds[1]
    assert "ShapeOf" in kinds[2]
    assert {v.get_node().get_type_name() for v in pieces[0].gives} == {"Add", "ShapeOf"}
    assert all("Exp" in kind for kind in kinds)


def test_blocks_that_read_two_streams_share_a_piece():
    model, wanted, result = blocks(4, skip=True)
    pieces = cut(model.get_ordered_ops(), wanted, [], result)
    assert [[w.name for w in p.wanted] for p in pieces] == [["site 0"], ["site 1", "site 2", "site 3"]]


def test_a_single_block_cannot_be_cut():
    model, wanted, result = blocks(1)
    with pytest.raises(UncutError, match="no single tensor lies between its blocks"):
        cut(model.get_ordered_ops(), wanted, [], result)
