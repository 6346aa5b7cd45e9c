"""Derivatives of pruning as part of a graph: of its input, and of its thresholds.

A hard threshold has no useful derivative: an entry is kept, with slope 1, or replaced, with slope 0, and jumps when |x − c| passes τ. Of
its mean over many rows it has one, and that is what is wanted of a model in which every layer prunes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.gradients.gradient_rules import Gradients, fit_to

WIDTH = 0.15  # wide enough that a few hundred tokens fill it, narrow against the spread of activations (a factor of several)


def through_pruning(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """The rule of a Select that prunes: its input counts with the slope of the best straight line through x − c ↦ what remains of it.

    That is the share of a channel's energy that is kept, 0.93 for normal values of which half are dropped; slopes of kept entries alone,
    0.5 on average, leave the jumps out and compound over the layers. See docs/adr/0012.
    """
    keep, exempt, _ = _parts(node)
    x, center = node.input_value(1), node.input_value(2)
    into_center = fit_to(ops.select(node.input_value(0), _scalar(0.0), g).output(0), center) if need[2] else None
    if not need[1]:
        return [None, None, into_center]
    square = ops.power(ops.subtract(x, center), _scalar(2.0))
    if exempt is not None:
        square = ops.select(exempt, _scalar(0.0), square)
    axes = np.arange(len(x.get_partial_shape()) - 1)
    kept, whole = (ops.reduce_sum(v, axes, keep_dims=True) for v in (ops.select(keep, square, _scalar(0.0)), square))
    slope = ops.divide(ops.add(kept, _scalar(1e-20)), ops.add(whole, _scalar(1e-20)))
    passed = ops.multiply(g, slope)
    if exempt is not None:
        passed = ops.select(exempt, g, passed)
    return [None, fit_to(passed.output(0), x), into_center]


def threshold_gradient(pruned: ov.Node, gradient: ov.Output) -> tuple[ov.Output, ov.Output]:
    """Of one site: dL/d log τ_k of the loss that `gradient` is of, and d(dropped entries)/d log τ_k, float32 [K], summed over rows.

    dL/d log τ = E[g·(c − x) | |x − c| = τ]·density, with g the gradient at the pruned input, taken over a window of relative width
    2·WIDTH around τ: as many entries are about to jump there as have just jumped, so that second-order terms of the jumps cancel.

    :param pruned: the site's Select, as portable_pattern writes it with runtime inputs.
    :param gradient: of the loss, with respect to its output.
    """
    _, exempt, threshold = _parts(pruned)
    x = pruned.input_value(1)
    difference = ops.subtract(x, pruned.input_value(2))
    inside = _about_to_jump(ops.abs(difference), threshold, exempt)
    jump = ops.multiply(ops.multiply(gradient, difference), ops.multiply(inside, _scalar(-1.0)))
    return _over_rows(jump, x), _over_rows(inside, x)


def whole_threshold_gradient(half: ov.Node, gradient: ov.Output) -> tuple[ov.Output, ov.Output]:
    """As `threshold_gradient`, of the threshold up to which entries are read by half: there x − c comes in where 0 was.

    :param half: the Select of what is read by half, as portable_pattern writes it with runtime inputs.
    :param gradient: of the loss, with respect to its output.
    """
    condition, exempt = half.input_value(0).get_node(), None
    outer = condition.input_value(1).get_node()
    if outer.get_type_name() == "LogicalNot":
        condition, exempt = condition.input_value(0).get_node(), outer.input_value(0)
    distance, threshold = condition.input_value(1).get_node().input_values()
    inside = _about_to_jump(distance, threshold, exempt)
    change = half.input_value(1)
    return _over_rows(ops.multiply(ops.multiply(gradient, change), inside), change), _over_rows(inside, change)


def half_rows(half: ov.Node) -> ov.Output:
    """How many rows read each entry of a site by half, float32 [K]."""
    return _over_rows(ops.convert(half.input_value(0), np.float32), half.input_value(1))


def _about_to_jump(distance: ov.Output | ov.Node, threshold: ov.Output, exempt: ov.Output | None) -> ov.Node:
    """Density of entries at a threshold: 1 / (2 · WIDTH) within a window around it, 0 elsewhere."""
    near = ops.logical_and(
        ops.greater(distance, ops.multiply(threshold, _scalar(1 - WIDTH))), ops.less(distance, ops.multiply(threshold, _scalar(1 + WIDTH)))
    )
    if exempt is not None:
        near = ops.logical_and(near, ops.logical_not(exempt))
    return ops.multiply(ops.convert(near, np.float32), _scalar(0.5 / WIDTH))


def dropped_rows(pruned: ov.Node) -> ov.Output:
    """How many rows drop each entry of a site, float32 [K]."""
    dropped = ops.convert(ops.logical_not(pruned.input_value(0)), np.float32)
    return _over_rows(dropped, pruned.input_value(1))


def _parts(pruned: ov.Node) -> tuple[ov.Output, ov.Output | None, ov.Output]:
    """What is kept, which rows are computed dense (None: none), and the threshold."""
    keep = pruned.input_value(0)
    exempt = None
    if keep.get_node().get_type_name() == "LogicalOr":
        keep, exempt = keep.get_node().input_values()
    test = keep.get_node()
    test = test.input_value(0).get_node() if test.get_type_name() == "LogicalNot" else test
    return keep, exempt, test.input_value(1)


def _scalar(value: float) -> ov.Node:
    return ops.constant(np.float32(value))


def _over_rows(value: ov.Node, x: ov.Output) -> ov.Output:
    flat = ops.reshape(value, np.array([-1, x.get_partial_shape()[-1].get_length()]), special_zero=False)
    return ops.reduce_sum(flat, np.array([0])).output(0)
