"""Parts of a tensor put back to where they were taken from, zeros elsewhere: derivatives of Slice and Gather; see gradient_rules."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops


def around(node: ov.Node, g: ov.Output, axes: np.ndarray) -> ov.Output:
    """Of a Slice of step 1: zeros before and behind. Where it begins, and how long axes are, may be known at run time only.

    :param axes: that are cut.
    """
    x = node.input_value(0)
    rank, whole = len(x.get_partial_shape()), ops.shape_of(x)
    axes = axes.astype(np.int64) % rank
    lengths = ops.gather(whole, axes, np.array(0))
    first = ops.convert(node.input_value(1), "i64")
    first = ops.select(ops.less(first, np.int64(0)), ops.add(first, lengths), first)
    first = ops.minimum(ops.maximum(first, np.int64(0)), lengths)
    before = ops.scatter_elements_update(np.zeros(rank, np.int64), axes, first, np.array(0))
    after = ops.subtract(ops.subtract(whole, ops.shape_of(node.output(0))), before)
    return ops.pad(g, before, after, "constant", _zero(g)).output(0)


def put_back(node: ov.Node, g: ov.Output, axis: int, places: np.ndarray) -> ov.Output:
    """Of a Gather along an axis of known length.

    :param places: different ones, [m], in 0 .. length - 1.
    """
    shape = node.get_input_partial_shape(0)
    axis %= len(shape)
    if not node.get_input_partial_shape(1).rank.get_length():  # one place as a number: the axis is gone
        g = ops.unsqueeze(g, np.array([axis])).output(0)
    behind = np.zeros(len(shape), np.int64)
    behind[axis] = 1
    source = np.full(shape[axis].get_length(), len(places))  # the entry behind all of them, which is zero
    source[places] = np.arange(len(places))
    return ops.gather(ops.pad(g, np.zeros_like(behind), behind, "constant", _zero(g)), source, np.array(axis)).output(0)


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
