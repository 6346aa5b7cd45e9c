"""Draw an ONNX model operator by operator, with the names that torch's exporter gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from scap_ov.passes.onnx.emitter import Emitter

OPSET = 18
_TYPES: dict[type, ir.DataType] = {np.float32: ir.DataType.FLOAT, np.int64: ir.DataType.INT64}


class OnnxGraphBuilder:
    """A model in the making; values are f32 unless said otherwise.

    :param weights: by name, float [...]; linear layers as [N, K].
    """

    def __init__(self, name: str, weights: Mapping[str, np.ndarray]) -> None:
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=name)
        self._emit = Emitter("", self.graph)
        self._weights = weights
        self._constants: dict[str, ir.Value] = {}

    def input(self, name: str, shape: list[int | str], dtype: type = np.int64) -> ir.Value:
        """A graph input."""
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(_TYPES[dtype]))
        self.graph.inputs.append(value)
        return value

    def op(self, kind: str, *inputs: ir.Value, name: str = "", **attributes: Any) -> ir.Value:
        """The output of a new node."""
        return self._emit.op(kind, *inputs, name=name, **attributes)

    def integers(self, *values: int) -> ir.Value:
        """An int64 vector."""
        return self._shared(f"int64 {values}", np.array(values, np.int64))

    def number(self, value: float) -> ir.Value:
        """A float32 scalar."""
        return self._shared(f"float32 {value}", np.array(value, np.float32))

    def weight(self, name: str) -> ir.Value:
        """A weight as it is."""
        return self._shared(name, np.asarray(self._weights[name], np.float32))

    def array(self, name: str, values: np.ndarray) -> ir.Value:
        """A constant of any type."""
        return self._shared(name, values)

    def linear(self, x: ir.Value, name: str, *, bias: bool = False) -> ir.Value:
        """MatMul with `<name>.weight` transposed to [K, N], and Add of `<name>.bias`."""
        node = "/" + name.replace(".", "/")
        turned = self._shared(f"onnx::{name}.weight", np.ascontiguousarray(np.asarray(self._weights[f"{name}.weight"], np.float32).T))
        y = self.op("MatMul", x, turned, name=f"{node}/MatMul")
        return self.op("Add", y, self.weight(f"{name}.bias"), name=f"{node}/Add") if bias else y

    def heads(self, x: ir.Value, count: int, size: int) -> ir.Value:
        """[B, T, count·size] -> [B, count, T, size]."""
        return self.op("Transpose", self.op("Reshape", x, self.integers(0, 0, count, size)), perm=[0, 2, 1, 3])

    def joined(self, x: ir.Value, size: int) -> ir.Value:
        """[B, heads, T, ...] -> [B, T, size]."""
        return self.op("Reshape", self.op("Transpose", x, perm=[0, 2, 1, 3]), self.integers(0, 0, size))

    def model(self, outputs: Mapping[str, tuple[ir.Value, list[int | str]]]) -> ir.Model:
        """The finished model.

        :param outputs: value and shape by name.
        """
        self.graph.extend(self._emit.nodes)
        for name, (value, shape) in outputs.items():
            value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
            self.graph.outputs.append(value)
        return ir.Model(self.graph, ir_version=9, producer_name="scap_ov")

    def _shared(self, name: str, values: np.ndarray) -> ir.Value:
        if name not in self._constants:
            self._constants[name] = self._emit.constant(values, name)
        return self._constants[name]
