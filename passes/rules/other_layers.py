"""Name linear layers that come as another operator than MatMul, with the reason why they stay as they are. Used on both kinds of graphs."""

from __future__ import annotations

from typing import Protocol

import openvino as ov


class GraphNode(Protocol):
    """What is asked of a node: ov.Node, or passes.onnx.graph_view.NodeView."""

    def get_type_name(self) -> str:
        """The type in OpenVINO's words."""

    def get_input_size(self) -> int:
        """Number of inputs."""

    def get_input_partial_shape(self, port: int, /) -> ov.PartialShape:
        """Shape of an input."""


def other_layer(node: GraphNode, constant: list[bool]) -> str:
    """Why a node that multiplies activations by a weight is no site; empty where it is no such layer.

    :param constant: of each input, whether it depends on constants alone.
    """
    kind = node.get_type_name()
    if kind == "Convolution" and constant[:2] == [False, True]:
        shape = node.get_input_partial_shape(1)
        if shape.is_static and all(size == 1 for size in list(shape.to_shape())[2:]):
            return "it is a Convolution with a kernel of one position; layers that are MatMul are pruned"
    if kind == "Einsum" and any(constant) and not all(constant):
        return "it is an Einsum with a constant weight; layers that are MatMul are pruned"
    return ""
