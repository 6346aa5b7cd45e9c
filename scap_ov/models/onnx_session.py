"""Run an ONNX model in onnxruntime, exactly: weights mapped where they lie, no integer activations."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from scap_ov.errors import BadModelError
from scap_ov.models.onnx_model import PROTOBUF_LIMIT, OnnxModel, external_tensors, to_one_folder

_INLINE_LIMIT = PROTOBUF_LIMIT


class OnnxSession:
    """An InferenceSession of an open model.

    1. MatMulNBits computes at accuracy level 0 and DequantizeLinear is not fused into integer arithmetic.
    2. External weights are read by onnxruntime from their own files.
    3. Samples are cast to the types of the inputs.
    4. Threads that wait do not spin: that cost a third of the processor time and more wall time than it saved (docs/adr/0038).
    5. Floats come out as float32; bfloat16, for which onnxruntime has no numpy type, goes in as float32 too.

    :param model: is not changed.
    :param outputs: values to give out, by name of the value; None for the model's own outputs.
    :param threads: of onnxruntime; None for its default.
    :raises BadModelError: onnxruntime refuses the model.
    """

    def __init__(self, model: OnnxModel, outputs: Iterable[ir.Value] | None = None, *, threads: int | None = None) -> None:
        wanted = None if outputs is None else [value.name for value in outputs]
        copy = model.graph_model.clone()
        if wanted is not None:
            named = {value.name: value for value in _values(copy)}
            copy.graph.outputs.clear()
            copy.graph.outputs.extend(named[name] for name in dict.fromkeys(wanted))
        for node in copy.graph.all_nodes():
            if node.op_type == "MatMulNBits":
                node.attributes["accuracy_level"] = ir.AttrInt64("accuracy_level", 0)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        self.output_names = [value.name or "" for value in copy.graph.outputs]
        _widen(copy.graph)
        self._session = _session(copy, options)
        self._types = {port.name: _NUMPY[port.type] for port in self._session.get_inputs() if port.type in _NUMPY}

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name; inputs that the model does not have are left out.

        :raises RuntimeError: an input is missing or does not fit.
        """
        given = {name: np.ascontiguousarray(value, self._types[name]) for name, value in inputs.items() if name in self._types}
        try:
            values = self._session.run(None, given)
        except (ValueError, *_REFUSALS) as e:
            raise RuntimeError(str(e)) from e
        return dict(zip(self.output_names, values, strict=True))


def _widen(graph: ir.Graph) -> None:
    """Rule 5: a Cast behind every output of another float type, and one in front of every reader of a bfloat16 input."""
    for value in graph.inputs:
        if value.dtype == ir.DataType.BFLOAT16 and value.name not in graph.initializers:
            narrow = ir.Node("", "Cast", [value], [ir.AttrInt64("to", ir.DataType.BFLOAT16.value)], name=f"scap_ov/narrow/{value.name}")
            narrow.outputs[0].name = narrow.name
            value.replace_all_uses_with(narrow.outputs[0])
            narrow.replace_input_with(0, value)
            value.dtype = ir.DataType.FLOAT
            if len(graph):
                graph.insert_before(graph[0], narrow)
            else:
                graph.append(narrow)
    for place, value in enumerate(graph.outputs):
        if value.dtype is None or not value.dtype.is_floating_point() or value.dtype == ir.DataType.FLOAT:
            continue
        wide = ir.Node("", "Cast", [value], [ir.AttrInt64("to", ir.DataType.FLOAT.value)], name=f"scap_ov/wide/{value.name}")
        wide.outputs[0].name, wide.outputs[0].shape, wide.outputs[0].dtype = wide.name, value.shape, ir.DataType.FLOAT
        graph.append(wide)
        graph.outputs[place] = wide.outputs[0]


def _session(model: ir.Model, options: ort.SessionOptions) -> ort.InferenceSession:
    external = {id(tensor): tensor for tensor in external_tensors(model)}
    inline = sum(value.const_value.nbytes for value in model.graph.initializers.values()
                 if value.const_value is not None and id(value.const_value) not in external)  # fmt: skip
    try:
        if inline > _INLINE_LIMIT:  # a large ModelProto that came without files
            with tempfile.TemporaryDirectory(prefix="scap_ov_") as scratch:
                path = Path(scratch) / "model.onnx"
                ir.save(model, path, external_data="model.onnx.data")
                return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        if (folder := to_one_folder(model)) is not None:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        return ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    except _REFUSALS as e:
        msg = f"onnxruntime refuses the model ({' '.join(str(e).split())[:300]}); export it again, or upgrade onnxruntime"
        raise BadModelError(msg) from e


def _values(model: ir.Model) -> list[ir.Value]:
    return [*model.graph.inputs, *model.graph.initializers.values(), *(value for node in model.graph for value in node.outputs)]


_state = ort.capi.onnxruntime_pybind11_state
_REFUSALS = (_state.Fail, _state.InvalidArgument, _state.InvalidGraph, _state.InvalidProtobuf, _state.NoSuchFile, _state.NotImplemented,
             _state.RuntimeException)  # fmt: skip
_NUMPY: dict[str, Any] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
}  # fmt: skip
