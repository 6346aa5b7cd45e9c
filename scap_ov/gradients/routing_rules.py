"""Derivatives of the operations around routed experts: copies of tokens, the choice, the weighted sum; part of gradient_rules.RULES.

The choice itself (which experts) has no gradient, as a comparison has none; the weights of the chosen experts have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.gradients.operands import constant_input, like, refuse, zeros_like

Gradients = Sequence["ov.Output | None"]


def tile(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Copies along the first axis: their sum."""
    del need
    repeats = constant_input(node, 1).tolist()
    if any(r != 1 for r in repeats[1:]):
        refuse(node, "repeats along another axis than the first")
    x = node.input_value(0)
    shape = ops.concat([ops.constant(np.array(repeats[:1], np.int64)), ops.shape_of(x)], 0)
    return [ops.reduce_sum(ops.reshape(g, shape, special_zero=False), np.array([0])).output(0), None]


def reduce_sum(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """The same for every summand."""
    del need
    if not node.get_attributes()["keep_dims"]:
        g = ops.unsqueeze(g, ops.constant(np.sort(constant_input(node, 1).reshape(-1)))).output(0)
    return [ops.broadcast(g, ops.shape_of(node.input_value(0)), broadcast_spec="BIDIRECTIONAL").output(0), None]


def scatter_elements_update(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of values put into another tensor: where they went; of that tensor: everywhere else."""
    if node.get_attributes().get("reduction", "none") != "none":
        refuse(node, "adds up")
    axis, places = int(constant_input(node, 3).reshape(-1)[0]), node.input_value(1)
    kept = ops.scatter_elements_update(g, places, zeros_like(node.input_value(2)), np.array(axis)).output(0) if need[0] else None
    return [kept, None, ops.gather_elements(g, places, axis).output(0) if need[2] else None, None]


def gather_elements(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Where they were taken from; an element that was taken several times gets the sum."""
    del need
    axis = np.array(node.get_attributes()["axis"])
    zeros = zeros_like(node.input_value(0))
    return [ops.scatter_elements_update(zeros, node.input_value(1), g, axis, reduction="sum", use_init_val=True).output(0), None]


def top_k(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of the values: where they were taken from."""
    del need
    axis = np.array(node.get_attributes()["axis"])
    return [ops.scatter_elements_update(zeros_like(node.input_value(0)), node.output(1), g, axis).output(0), None]


def clamp(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Nothing outside of the bounds."""
    del need
    bounds, x = node.get_attributes(), node.input_value(0)
    inside = ops.logical_and(ops.greater(x, like(bounds["min"], x)), ops.less(x, like(bounds["max"], x)))
    return [ops.select(inside, g, like(0.0, x)).output(0)]


def minimum(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of min(x, a constant): nothing above it."""
    if need[1]:
        refuse(node, "has two operands that are differentiated")
    x, limit = node.input_values()
    return [ops.select(ops.less(x, limit), g, like(0.0, x)).output(0), None]
