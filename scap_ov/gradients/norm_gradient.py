"""The derivative of MVN, the layer norm without its gain, in OpenVINO operations.

y = (x − mean) / √(variance + ε), so dx = (g − mean(g) − y · mean(g · y)) / √(variance + ε), means along the normalised axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.errors import BadModelError


def layer_norm(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> list[ov.Output | None]:
    """Of the normalised tensor; the axes have none."""
    del need
    x, y = node.input_value(0), node.output(0)
    attributes, source = node.get_attributes(), node.input_value(1).get_node()
    inside = str(attributes["eps_mode"]).upper() == "INSIDE_SQRT"
    if not attributes["normalize_variance"] or not inside or source.get_type_name() != "Constant":
        name = node.get_friendly_name()
        msg = f"MVN {name} does not divide by √(variance + ε) along fixed axes: it has no gradient rule; calibrate without gradients"
        raise BadModelError(msg)
    axes = np.array(source.data).reshape(-1)

    def mean(value: ov.Node | ov.Output) -> ov.Node:
        return ops.reduce_mean(value, axes, keep_dims=True)

    away = ops.subtract(x, mean(x))
    epsilon = ops.constant(np.array(attributes["eps"], x.get_element_type().to_dtype()))
    spread = ops.sqrt(ops.add(mean(ops.multiply(away, away)), epsilon))
    inner = ops.subtract(ops.subtract(g, mean(g)), ops.multiply(y, mean(ops.multiply(g, y))))
    return [ops.divide(inner, spread).output(0), None]
