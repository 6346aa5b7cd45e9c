"""Parts of a tensor put back to where they were taken from, zeros elsewhere: derivatives of Slice and Gather; see gradient_rules."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops


def around(node: ov.Node, g: ov.Output, axes: np.ndarray) -> ov.Output:
    """Of a Slice of step 1: zeros before and behind. Where it begins, and how long axes are, may be known at run time only.

    :param axes: that are cut.
    """
    x, starts = node.input_value(0), node.input_value(1)
    begin = np.array(starts.get_node().data) if starts.get_node().get_type_name() == "Constant" else None
    for place, axis in enumerate(int(a) % len(x.get_partial_shape()) for a in axes):
        whole, part = x.get_partial_shape()[axis], node.get_output_partial_shape(0)[axis]
        if begin is not None and whole.is_static and part.is_static:
            g = _padded(g, axis, int(begin[place]), whole.get_length(), part.get_length())
        else:
            g = _placed(g, axis, ops.gather(starts, np.array(place), np.array(0)), _length(x, axis), _length(node.output(0), axis))
    return g


def _length(value: ov.Output, axis: int) -> ov.Node:
    """Of an axis, an int64 scalar: a constant where it is known, for ShapeOf of gradients is wrong in GPT-NeoX with OpenVINO 2026.4.1."""
    length = value.get_partial_shape()[axis]
    if length.is_static:
        return ops.constant(np.array(length.get_length(), np.int64))
    return ops.gather(ops.shape_of(value), np.array(axis), np.array(0))


def _padded(g: ov.Output, axis: int, first: int, whole: int, part: int) -> ov.Output:
    first = min(max(first + (whole if first < 0 else 0), 0), whole)
    before, after = np.zeros((2, len(g.get_partial_shape())), np.int64)
    before[axis], after[axis] = first, whole - part - first
    return ops.pad(g, before, after, "constant", _zero(g)).output(0)


def _placed(g: ov.Output, axis: int, first: ov.Node, whole: ov.Node, part: ov.Node) -> ov.Output:
    """Every entry of the axis is looked up where it comes from, or in a zero behind all.

    :param first: where the stretch begins; like the lengths an integer scalar.
    """
    first = ops.convert(first, "i64")
    first = ops.select(ops.less(first, np.int64(0)), ops.add(first, whole), first)
    first = ops.minimum(ops.maximum(first, np.int64(0)), whole)
    source = ops.subtract(ops.range(np.int64(0), whole, np.int64(1), "i64"), first)
    inside = ops.logical_and(ops.greater_equal(source, np.int64(0)), ops.less(source, part))
    return ops.gather(_with_zero(g, axis), ops.select(inside, source, part), np.array(axis)).output(0)


def _with_zero(g: ov.Output, axis: int) -> ov.Node:
    """One entry more at the end of an axis."""
    before, behind = np.zeros((2, len(g.get_partial_shape())), np.int64)
    behind[axis] = 1
    return ops.pad(g, before, behind, "constant", _zero(g))


def put_back(node: ov.Node, g: ov.Output, axis: int, places: np.ndarray) -> ov.Output:
    """Of a Gather along an axis of known length.

    :param places: different ones, [m], in 0 .. length - 1.
    """
    shape = node.get_input_partial_shape(0)
    axis %= len(shape)
    if not node.get_input_partial_shape(1).rank.get_length():  # one place as a number: the axis is gone
        g = ops.unsqueeze(g, np.array([axis])).output(0)
    source = np.full(shape[axis].get_length(), len(places))  # the entry behind all of them, which is zero
    source[places] = np.arange(len(places))
    return ops.gather(_with_zero(g, axis), source, np.array(axis)).output(0)


def every_second(node: ov.Node, g: ov.Output, start: int, step: int) -> ov.Output:
    """Of a Slice of the whole last axis with a step: zeros between.

    :param start: of the slice, below the step.
    """
    x = node.input_value(0)
    rank = len(x.get_partial_shape())
    before, after = np.zeros(rank + 1, np.int64), np.zeros(rank + 1, np.int64)
    before[-1], after[-1] = start, step - 1 - start
    spread = ops.pad(ops.unsqueeze(g, np.array([rank])), before, after, "constant", _zero(x))
    return ops.reshape(spread, ops.shape_of(x), special_zero=False).output(0)


def _zero(other: ov.Output) -> ov.Node:
    return ops.constant(np.array(0, other.get_element_type().to_dtype()))
