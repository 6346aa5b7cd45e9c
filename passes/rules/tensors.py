"""What is asked of a tensor of either kind of graph: which one it is, what it was converted from, whether it is constant."""

from __future__ import annotations

from typing import TypeAlias

import openvino as ov

Key: TypeAlias = tuple[int, int]  # node and output; the bindings make another object at every look
_MOST_NODES = 64  # of a decompression chain with all that it depends on


def key_of(value: ov.Output) -> Key:
    """Which tensor it is."""
    return value.get_node().get_instance_id(), value.get_index()


def unconverted(value: ov.Output) -> ov.Output:
    """The tensor before all conversions of its type."""
    while value.get_node().get_type_name() == "Convert":
        value = value.get_node().input_value(0)
    return value


def constant_origin(value: ov.Output) -> ov.Node | None:
    """A Constant that a value depends on, where it depends on nothing else; the one along first inputs, where there are several."""
    pending, found = [value.get_node()], None
    for _ in range(_MOST_NODES):
        if not pending:
            return found
        node = pending.pop()
        if node.get_type_name() == "Constant":
            found = found or node
        elif node.get_input_size() == 0 or node.get_type_name() == "ReadValue":
            return None
        else:
            pending += [v.get_node() for v in reversed(node.input_values())]
    return None
