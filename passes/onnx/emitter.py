"""Make nodes of one site with names of their own, in a graph or in the body of a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir


class Emitter:
    """Collects new nodes; constants become initializers of `graph`, or Constant nodes where there is none.

    :param prefix: begins every name.
    :param graph: gets the initializers; None in the body of a function, which cannot have any.
    """

    def __init__(self, prefix: str, graph: ir.Graph | None = None) -> None:
        self.nodes: list[ir.Node] = []
        self._prefix, self._graph, self._used = prefix, graph, set[str]()

    def op(self, kind: str, *inputs: ir.Value, name: str = "", domain: str = "", **attributes: Any) -> ir.Value:
        """The output of a new node.

        :param attributes: ints, floats, lists of ints.
        """
        made = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        node = ir.Node(domain, kind, inputs, made, name=self._name(name or kind))
        node.outputs[0].name = node.name
        self.nodes.append(node)
        return node.outputs[0]

    def call(self, kind: str, inputs: Sequence[ir.Value], *, name: str, domain: str, outputs: int) -> list[ir.Value]:
        """The outputs of a new node that has several."""
        node = ir.Node(domain, kind, inputs, num_outputs=outputs, name=self._name(name))
        for number, value in enumerate(node.outputs):
            value.name = f"{node.name}_{number}" if number else node.name
        self.nodes.append(node)
        return list(node.outputs)

    def constant(self, values: np.ndarray, name: str) -> ir.Value:
        """A constant of a numpy array; bfloat16 as ml_dtypes has it."""
        tensor = ir.tensor(np.ascontiguousarray(values).reshape(np.shape(values)), name=self._name(name))
        if self._graph is None:
            value = self.op("Constant", name=f"{name}/constant", value=tensor)
        else:
            value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
            self._graph.register_initializer(value)
        return value

    def rename(self, value: ir.Value, name: str) -> None:
        """Give a new node and its output a name of their own."""
        node = value.producer()
        if node is not None:
            node.name = value.name = name

    def _name(self, label: str) -> str:
        name, number = f"{self._prefix}{label}", 2
        while name in self._used:
            name, number = f"{self._prefix}{label}_{number}", number + 1
        self._used.add(name)
        return name
