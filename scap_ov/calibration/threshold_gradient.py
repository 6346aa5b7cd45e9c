"""What moving a threshold does to a loss, as part of a graph. Used by: gradient_model. Read by: working_point, learn_constants.

A threshold has no derivative that a graph could give: an entry jumps from x to its centre c when τ passes |x − c|. Of the expected
loss it has one, dL/d log τ = E[g·(c − x) | |x − c| = τ]·density, with g the gradient at the pruned input. It is the mean over a window
of relative width 2·WIDTH around τ: as many entries are about to jump there as have just jumped, so that the jumps' second-order terms
cancel.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

WIDTH = 0.15  # wide enough that a few hundred tokens fill it, narrow against the spread of activations (a factor of several)


def threshold_gradient(pruned: ov.Node, gradient: ov.Output) -> tuple[ov.Output, ov.Output]:
    """Of one site: dL/d log τ_k of the loss that `gradient` is of, and d(dropped entries)/d log τ_k, float32 [K], summed over rows.

    :param pruned: the site's Select, as portable_pattern writes it with runtime inputs.
    :param gradient: of the loss, with respect to its output.
    """
    keep, x, center = pruned.input_values()
    exempt = None
    if keep.get_node().get_type_name() == "LogicalOr":
        keep, exempt = keep.get_node().input_values()
    threshold = keep.get_node().input_value(1)
    difference = ops.subtract(x, center)
    distance = ops.abs(difference)
    near = ops.logical_and(
        ops.greater(distance, ops.multiply(threshold, ops.constant(np.float32(1 - WIDTH)))),
        ops.less(distance, ops.multiply(threshold, ops.constant(np.float32(1 + WIDTH)))),
    )
    if exempt is not None:
        near = ops.logical_and(near, ops.logical_not(exempt))
    inside = ops.multiply(ops.convert(near, np.float32), ops.constant(np.float32(0.5 / WIDTH)))
    jump = ops.multiply(ops.multiply(gradient, difference), ops.multiply(inside, ops.constant(np.float32(-1))))
    return _over_rows(jump, x), _over_rows(inside, x)


def dropped_rows(pruned: ov.Node) -> ov.Output:
    """How many rows drop each entry of a site, float32 [K]."""
    value = pruned.input_value(0)
    return _over_rows(ops.convert(ops.logical_not(value), np.float32), pruned.input_value(1))


def _over_rows(value: ov.Node, x: ov.Output) -> ov.Output:
    size = x.get_partial_shape()[-1].get_length()
    flat = ops.reshape(value, np.array([-1, size]), special_zero=False)
    return ops.reduce_sum(flat, np.array([0])).output(0)
