"""Run an OpenVINO model on the CPU: one compiled model with one request. What onnx_session is for ONNX."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import openvino as ov

from scap_ov.models.tensors import Port, Value, array_of, fed
from scap_ov.runtime import compiling_core

Name = TypeVar("Name", bound=Hashable)


class OpenVINOSession(Generic[Name]):
    """A compiled model.

    :param model: compiled as it is.
    :param names: what to call its outputs, in order.
    :param properties: of the CPU plugin.
    :ivar ports: its inputs.
    :ivar stateful: whether it keeps a state between runs.
    """

    def __init__(self, model: ov.Model, names: Iterable[Name], properties: Mapping[str, object] | None = None) -> None:
        self.stateful = bool(model.get_sinks())
        self._names = list(names)
        compiled = compiling_core().compile_model(model, "CPU", dict(properties or {}))
        self.ports: Sequence[Port] = compiled.inputs  # not the model's, which would keep its weights in memory
        self._request = compiled.create_infer_request()

    def start(self) -> None:
        """Begin a new sequence."""
        if self.stateful:
            self._request.reset_state()

    def run(self, inputs: Mapping[str, Value], *, share: bool = False) -> dict[Name, np.ndarray]:
        """One run, in the sequence that was begun last.

        :param inputs: by any name of an input; those that the model does not have are left out.
        :param share: read inputs where they lie, without a copy; they must not change before the next run.
        :return: the outputs by name, bfloat16 as float32; valid until the next run.
        :raises RuntimeError: an input is missing or does not fit.
        """
        self._request.infer(fed(inputs, self.ports), share_inputs=share)
        return {name: array_of(self._request.get_output_tensor(place)) for place, name in enumerate(self._names)}
