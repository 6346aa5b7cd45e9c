"""Numbers between numpy and OpenVINO: floats come out as float32, and bfloat16, which numpy takes for float16, never passes as it is.

Also the one way to give out further values of a model: as a new ov.Model. `Model.add_outputs` after `get_ordered_ops` leaves new nodes
out of the order that the model keeps, and then clone() and compile_model fail, or not, as memory happens to lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import openvino as ov
from openvino import opset13 as ops


class Port(Protocol):
    """An input, an output or a tensor of a graph: an ov.Output, or how passes.onnx.graph_view shows one of ONNX."""

    def get_names(self) -> set[str]:
        """The names of the tensor."""

    def get_node(self) -> ov.Node:
        """The node that gives it."""

    def get_partial_shape(self) -> ov.PartialShape:
        """Its shape."""

    def get_element_type(self) -> ov.Type:
        """Its type."""


class HasInputs(Protocol):
    """What is run on samples: ov.Model, CompiledModel, OnnxModel."""

    @property
    def inputs(self) -> Sequence[Port]:
        """Its inputs, in order."""


Value: TypeAlias = "np.ndarray | ov.Tensor | Sequence[Value] | float"  # what is fed to an input


def as_f32(value: ov.Output) -> ov.Output:
    """A float value in f32; anything else as it is."""
    dtype = value.get_element_type()
    return ops.convert(value, np.float32).output(0) if dtype.is_real() and dtype != ov.Type.f32 else value


def before_narrowing(value: ov.Output) -> ov.Output:
    """A float value as it was before closing Converts to other float types, as models end with whose logits are f16."""
    while value.get_node().get_type_name() == "Convert" and value.get_node().get_input_element_type(0).is_real():
        value = value.get_node().input_value(0)
    return value


def rebuilt(model: ov.Model, outputs: Iterable[ov.Output], name: str = "scap_ov", parameters: Sequence[ov.Node] | None = None) -> ov.Model:
    """A new model over the nodes of another, with these outputs and no more, floats in f32.

    :param model: its nodes become those of the new model: give a clone, or a model that is not needed any more.
    :param outputs: of nodes of the model, or hung onto them.
    :param parameters: instead of the model's own.
    """
    return ov.Model([as_f32(value) for value in outputs], model.get_sinks(), list(parameters or model.get_parameters()), name)


def result_values(model: ov.Model) -> list[ov.Output]:
    """What the model's results give out, in order: for `rebuilt`."""
    return [port.get_node().input_value(0) for port in model.outputs]


def array_of(tensor: ov.Tensor) -> np.ndarray:
    """The values of a tensor: bfloat16 widened to float32, other types as they are and without a copy."""
    if tensor.get_element_type() != ov.Type.bf16:
        return tensor.data
    return (tensor.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def port_name(port: Port) -> str:
    """The shortest name of an input or output; that of its node where it has none."""
    names = port.get_names()
    return str(min(names, key=lambda n: (len(n), n)) if names else port.get_node().get_friendly_name())


def port_names(port: Port) -> set[str]:
    """All names that a sample may call an input by: those of the tensor, and of the node."""
    return {*port.get_names(), port.get_node().get_friendly_name()}


def fed(inputs: Mapping[str, Value], ports: Sequence[Port]) -> dict[int, np.ndarray | ov.Tensor]:
    """Inputs by the place of their port, in the port's type, for `InferRequest.infer`.

    :param inputs: by any name of a port; what has no port is left out.
    """
    given: dict[int, np.ndarray | ov.Tensor] = {}
    for place, port in enumerate(ports):
        name = next((n for n in sorted(port_names(port)) if n in inputs), None)
        if name is not None:
            given[place] = _typed(inputs[name], port.get_element_type())
    return given


def _typed(value: Value, dtype: ov.Type) -> np.ndarray | ov.Tensor:
    if isinstance(value, ov.Tensor):
        if value.get_element_type() == dtype:
            return value
        value = array_of(value)
    if dtype != ov.Type.bf16:
        with np.errstate(over="ignore"):  # what becomes infinite is told of where it is seen
            return np.ascontiguousarray(value, dtype.to_dtype())
    values = np.ascontiguousarray(value, np.float32)
    bits = values.view(np.uint32)
    tensor = ov.Tensor(ov.Type.bf16, ov.Shape(list(np.asarray(value).shape)))
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)  # to the nearest, ties to even
    if rounded.size:
        tensor.data.view(np.uint16)[...] = rounded
    return tensor
