"""The nodes between a site's tensor and a layer that reads it."""

from __future__ import annotations

import openvino as ov


def path_between(matmul: ov.Node, source: ov.Output) -> list[ov.Node]:
    """The nodes between a site's tensor and its layer, the first one to run first."""
    path: list[ov.Node] = []
    value = matmul.input_value(0)
    while not (value.get_node().get_instance_id() == source.get_node().get_instance_id() and value.get_index() == source.get_index()):
        node = value.get_node()
        path.insert(0, node)
        value = node.input_value(0)
    return path
