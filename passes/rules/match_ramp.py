"""Match the ramp of the portable pattern: a kept entry moved towards the centre near its threshold.

x − sign(x − c) · max(0, τ − (|x − c| − τ) · s)      s = 1 / ramp, in f32 whatever x is
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov

from scap_ov.passes.rules.constants import constant_values

_CONVERTS = ("Convert", "ConvertLike")


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
    if not _same(kept, difference.output(0)) and x.get_node().get_type_name() in _CONVERTS:  # there and back
        x = x.get_node().input_value(0)
    return x, float(np.float32(1) / steepness)


def steepness(ramp: float) -> np.float32:
    """Of a ramp, in f32 as the op has it."""
    return np.float32(1) / np.float32(ramp)


def _steepness(excess: ov.Node, distance: ov.Output, threshold: ov.Output) -> np.float32 | None:
    """The s of τ − (|x − c| − τ) · s."""
    if excess.get_type_name() != "Subtract" or not _same(excess.input_value(0), threshold):
        return None

    def above(value: ov.Output) -> bool:
        node = value.get_node()
        inputs = node.input_values() if node.get_type_name() == "Subtract" else []
        return len(inputs) == 2 and _same(inputs[0], distance) and _same(inputs[1], threshold)

    value = _other(excess.input_value(1).get_node(), "Multiply", above)
    try:
        values = np.zeros(0) if value is None else constant_values(value)[0].astype(np.float32).reshape(-1)
    except ValueError:
        return None
    return np.float32(values[0]) if values.size == 1 and values[0] > 0 else None


def _other(node: ov.Node, kind: str, one: Callable[[ov.Output], bool]) -> ov.Output | None:
    """The input of a node of two inputs whose fellow is `one`; None where there is none, or the node is of another kind."""
    if node.get_type_name() == kind:
        for port in (0, 1):
            if one(node.input_value(port)):
                return node.input_value(1 - port)
    return None


def _behind_converts(value: ov.Output) -> ov.Output:
    while value.get_node().get_type_name() in _CONVERTS:
        value = value.get_node().input_value(0)
    return value


def _same(a: ov.Output, b: ov.Output) -> bool:
    return a.get_node().get_instance_id() == b.get_node().get_instance_id() and a.get_index() == b.get_index()
