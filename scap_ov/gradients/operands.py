"""What rules of gradients ask of a node's inputs, and how they refuse a node."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.errors import BadModelError


def like(value: float, other: ov.Output | ov.Node) -> ov.Node:
    """A scalar of another tensor's type."""
    return ops.constant(np.array(value, other.get_element_type().to_dtype()))


def zeros_like(value: ov.Output) -> ov.Output:
    """Zeros of another tensor's shape and type: the gradient of an output that nothing reads, say."""
    return ops.broadcast(like(0.0, value), ops.shape_of(value)).output(0)


def constant_input(node: ov.Node, port: int) -> np.ndarray:
    """The values of an input.

    :raises BadModelError: they are computed.
    """
    source = node.input_value(port).get_node()
    if source.get_type_name() != "Constant":
        refuse(node, f"takes input {port} from {source.get_type_name()}, not from a constant")
    return np.array(source.data)


def refuse(node: ov.Node, why: str) -> NoReturn:
    """A node that no rule covers.

    :raises BadModelError: always.
    """
    msg = f"{node.get_type_name()} {node.get_friendly_name()} {why}: it has no gradient rule; calibrate without gradients"
    raise BadModelError(msg)
