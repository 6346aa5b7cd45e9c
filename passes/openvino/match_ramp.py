"""Match the ramp of the portable pattern: a kept entry moved towards the centre near its threshold. Used by: match_pattern.

x − sign(x − c) · max(0, (1 + s) · τ − s · |x − c|)      s = 1 / ramp, in f32 whatever x is
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov

from scap_ov.passes.openvino.constants import constant_values


def match_ramp(kept: ov.Output, distance: ov.Output, threshold: ov.Output) -> tuple[ov.Output, float]:
    """What a Select keeps, without its ramp.

    :param kept: the input of the Select that stands for kept entries.
    :param distance: |x − c| of its test.
    :param threshold: of its test, the row policy included.
    :return: (x, ramp); `kept` itself and 0 where there is no ramp.
    """
    difference = _behind_converts(kept).get_node()
    if difference.get_type_name() != "Subtract":
        return kept, 0.0
    product = difference.input_value(1).get_node()
    excess = _other(product, "Multiply", lambda value: value.get_node().get_type_name() == "Sign")
    signed = _other(product, "Multiply", lambda value: value.get_node().get_type_name() == "Relu")
    if excess is None or signed is None or not _same(signed.get_node().input_value(0), distance.get_node().input_value(0)):
        return kept, 0.0
    steepness = _steepness(excess.get_node().input_value(0).get_node(), distance, threshold)
    if steepness is None:
        return kept, 0.0
    x = difference.input_value(0)
    while x.get_element_type() != kept.get_element_type() and x.get_node().get_type_name() == "Convert":
        x = x.get_node().input_value(0)
    return x, float(np.float32(1) / steepness)


def _steepness(difference: ov.Node, distance: ov.Output, threshold: ov.Output) -> np.float32 | None:
    """The s of (1 + s) · τ − s · |x − c|; the first product may have become one constant."""
    if difference.get_type_name() != "Subtract":
        return None
    steepness = _one(_other(difference.input_value(1).get_node(), "Multiply", lambda value: _same(value, distance)))
    if steepness is None or not steepness > 0:
        return None
    lift = np.float32(1) + steepness
    lifted = difference.input_value(0)
    factor = _one(_other(lifted.get_node(), "Multiply", lambda value: _same(value, threshold)))
    if factor is not None:
        return steepness if np.isclose(factor, lift, rtol=1e-5) else None
    whole, constant = _constant(lifted), _constant(threshold)
    folded = whole is not None and constant is not None and np.allclose(whole, constant * lift, rtol=1e-5)
    return steepness if folded else None


def _other(node: ov.Node, kind: str, one: Callable[[ov.Output], bool]) -> ov.Output | None:
    """The input of a node of two inputs whose fellow is `one`; None where there is none, or the node is of another kind."""
    if node.get_type_name() == kind:
        for port in (0, 1):
            if one(node.input_value(port)):
                return node.input_value(1 - port)
    return None


def _one(value: ov.Output | None) -> np.float32 | None:
    values = None if value is None else _constant(value)
    return np.float32(values.reshape(-1)[0]) if values is not None and values.size == 1 else None


def _constant(value: ov.Output) -> np.ndarray | None:
    try:
        return constant_values(value)[0].astype(np.float32)
    except ValueError:
        return None


def _behind_converts(value: ov.Output) -> ov.Output:
    while value.get_node().get_type_name() == "Convert":
        value = value.get_node().input_value(0)
    return value


def _same(a: ov.Output, b: ov.Output) -> bool:
    return a.get_node().get_instance_id() == b.get_node().get_instance_id() and a.get_index() == b.get_index()
