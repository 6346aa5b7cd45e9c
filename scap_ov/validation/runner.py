"""Run a model of any kind exactly: stock or sparse IR, portable or lowered, or ONNX, with its state or its past."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from scap_ov.custom_ops import OP_NAMES
from scap_ov.errors import BadDatasetError
from scap_ov.models.inputs import Inputs, Role
from scap_ov.models.openvino_session import OpenVINOSession
from scap_ov.models.runner import EXACT, misfit
from scap_ov.models.tensors import Port, port_name, rebuilt, result_values
from scap_ov.storage.model_files import model_file
from scap_ov.storage.model_folder import read_model


class Runner(ABC):
    """One model, ready to run.

    :ivar kind: `stock IR`, `sparse IR, portable`, `sparse IR, lowered`, `ONNX` or `sparse ONNX`.
    :ivar ports: its inputs, with names, shapes and types.
    :ivar vocabulary: the width of its logits; None where there are none.
    """

    kind: str
    ports: Sequence[Port]
    vocabulary: int | None

    def __init__(self, path: str, given_back: list[str]) -> None:
        self._path = path
        self._inputs = Inputs(self)
        self._past_names = self._inputs.named(Role.PAST)
        self._given_back = set(given_back)
        self._past: dict[str, np.ndarray] = {}
        self._done = 0

    @property
    def names(self) -> list[str]:
        """Names of the inputs."""
        return [port_name(port) for port in self.ports]

    @property
    def takes_tokens(self) -> bool:
        """Whether token ids are all that a run needs."""
        return bool(self._inputs.named(Role.TOKENS)) and not self._inputs.named(Role.OTHER)

    @property
    def continues(self) -> bool:
        """Whether a sequence can be run piece by piece."""
        return bool(self._past_names) and all(present_name(name) in self._given_back for name in self._past_names)

    def start(self) -> None:
        """Begin a new sequence."""
        self._past, self._done = {}, 0

    def tokens(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Run the next tokens of a sequence.

        :param ids: int64 [1, T].
        :return: all outputs by name.
        """
        values = {**self._inputs.for_tokens(ids, past=self._done), **self._past}
        outputs = self.run(values)
        self._past = {name: outputs[present_name(name)] for name in self._past_names if present_name(name) in outputs}
        self._done += ids.shape[1]
        return outputs

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name, for inputs as they are.

        :raises BadDatasetError: they do not fit the model.
        """
        try:
            return self._infer(inputs)
        except RuntimeError as e:
            raise BadDatasetError(misfit(f"the data does not fit {self._path}", self.ports, inputs, e)) from e

    @property
    def inputs(self) -> Sequence[Port]:
        """As `ov.Model.inputs`."""
        return self.ports

    @abstractmethod
    def _infer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


class OpenVINORunner(Runner):
    """A model in OpenVINO on the CPU, in f32."""

    def __init__(self, path: str) -> None:
        model = read_model(path, as_it_runs=True)
        self.kind = _openvino_kind(model)
        self.vocabulary = _vocabulary(model.outputs)
        outputs = [min(port.get_names(), key=len, default=f"output {i}") for i, port in enumerate(model.outputs)]
        self._session = OpenVINOSession(rebuilt(model, result_values(model)), outputs, EXACT)
        self.ports = self._session.ports
        super().__init__(path, outputs)

    @property
    def continues(self) -> bool:
        """Its state goes on by itself."""
        return self._session.stateful or super().continues

    def start(self) -> None:
        """Begin a new sequence."""
        super().start()
        self._session.start()

    def _infer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: value.copy() for name, value in self._session.run(inputs).items()}


class OnnxRunner(Runner):
    """A model in onnxruntime; MatMulNBits at accuracy level 0."""

    def __init__(self, path: str) -> None:
        from scap_ov.models.onnx_model import open_onnx
        from scap_ov.models.onnx_session import OnnxSession
        from scap_ov.passes.onnx.find_sites import is_sparse

        model = open_onnx(path)
        self.kind = "sparse ONNX" if is_sparse(model.graph_model) else "ONNX"
        self.ports, self.vocabulary = model.inputs, _vocabulary(model.outputs)
        self._session = OnnxSession(model)
        super().__init__(path, self._session.output_names)

    def _infer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._session.run(inputs)


def open_runner(path: str | Path) -> Runner:
    """Load a model folder, an .xml or an .onnx.

    :raises BadModelError: there is no such model, or its runtime refuses it.
    """
    return OnnxRunner(str(path)) if model_file(path).suffix.lower() == ".onnx" else OpenVINORunner(str(path))


def present_name(past: str) -> str:
    """The output that becomes the input `past` at the next step."""
    return re.sub(r"^past(?:_key_values)?\.", "present.", past)


def _vocabulary(outputs: Sequence[Port]) -> int | None:
    for port in outputs:
        shape = port.get_partial_shape()
        if "logits" in port.get_names() and shape.rank.is_static and shape[-1].is_static:
            return int(shape[-1].get_length())
    return None


def _openvino_kind(model: ov.Model) -> str:
    from scap_ov.passes.rules.match_pattern import match_patterns

    if any(node.get_type_name() in OP_NAMES for node in model.get_ops()):
        return "sparse IR, lowered"
    return "sparse IR, portable" if match_patterns(model) else "stock IR"
