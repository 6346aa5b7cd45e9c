"""An ONNX model that is open: its graph, where its external data lies, and what is noted in it.

Weights in external files stay there, mapped into memory when they are read. A model whose tensors fit into one file of 2 GB is given
back whole; a larger one keeps pointing to the files that it came from, and `save` copies them piece by piece.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir import external_data

from scap_ov.errors import BadModelError, OutputError
from scap_ov.passes.onnx.graph_view import GraphView, OutputView
from scap_ov.passes.onnx.infer_shapes import SMALL, infer_shapes, untranspose_gemm

OLDEST_OPSET = 17
PROTOBUF_LIMIT = 2**31 - 2**26  # bytes of tensors in one file: protobuf ends at 2 GB, the graph itself takes some of them
_DecodeError: Any = importlib.import_module("google.protobuf.message").DecodeError  # comes with onnx, without types
_FOLDER_KEY = "scap_ov.external_data_folder"  # in ModelProto, where external data that was not embedded lies


class OnnxModel:
    """An open model; `graph_model` may be changed, the file and the proto it came from are not.

    :param graph_model: with shapes.
    """

    def __init__(self, graph_model: ir.Model) -> None:
        self.graph_model = graph_model

    @cached_property
    def inputs(self) -> list[OutputView]:
        """Inputs without default values, as `ov.Model.inputs`."""
        graph = self.graph_model.graph
        names = set(graph.initializers)
        view = GraphView(self.graph_model)
        return [view.of(value) for value in graph.inputs if value.name not in names]

    @cached_property
    def outputs(self) -> list[OutputView]:
        """Outputs, as `ov.Model.outputs`."""
        view = GraphView(self.graph_model)
        return [view.of(value) for value in self.graph_model.graph.outputs]

    def clone(self) -> OnnxModel:
        """An independent graph over the same tensors."""
        return OnnxModel(self.graph_model.clone())

    def has_rt_info(self, path: list[str]) -> bool:
        """Whether something is noted under `scap_ov.version` and the like; in the words of ov.Model, for storage.rt_info."""
        return ".".join(path) in self.graph_model.metadata_props

    def get_rt_info(self, path: list[str]) -> str:
        """What is noted."""
        return self.graph_model.metadata_props[".".join(path)]

    def set_rt_info(self, value: str, path: list[str]) -> None:
        """Note something in the model's metadata."""
        self.graph_model.metadata_props[".".join(path)] = value


def open_onnx(model: Any) -> OnnxModel:
    """Open a path or a ModelProto; an OnnxModel is given back as it is.

    :raises BadModelError: it is no ONNX model, of an opset that is too old or unknown, or its external data is missing.
    """
    if isinstance(model, OnnxModel):
        return model
    if isinstance(model, (str, Path)):
        what, opened = str(model), _load(Path(model))
    else:
        what, opened = "the ModelProto", ir.from_proto(model)
        folder = opened.metadata_props.pop(_FOLDER_KEY, None)
        if folder is not None:
            external_data.set_base_dir(opened.graph, folder)
    _check(opened, what)
    _load_external(opened, SMALL)  # onnxruntime and shape inference want to know them without the file
    for node in opened.graph:
        node.name = node.name or next((value.name for value in node.outputs if value.name), None)
    untranspose_gemm(opened)
    try:
        infer_shapes(opened)
    except onnx.shape_inference.InferenceError as e:
        msg = f"{what} contradicts itself ({str(e).splitlines()[0]}); export the model again"
        raise BadModelError(msg) from e
    return OnnxModel(opened)


def to_proto(model: OnnxModel) -> onnx.ModelProto:
    """A ModelProto of its own, whole where protobuf can hold it; else its weights stay in the files that they came from.

    `scap_ov.save_model` writes either; `onnx.save` writes the first.
    """
    copy = model.graph_model.clone()
    folders = {str(Path(tensor.path).parent) for tensor in external_tensors(copy)}
    if folders and _tensor_bytes(copy) <= PROTOBUF_LIMIT:
        _load_external(copy)
    elif folders:
        copy.metadata_props[_FOLDER_KEY] = _common_folder(copy)
    return ir.to_proto(copy)


def save_onnx(model: OnnxModel, path: Path) -> None:
    """Write an .onnx file, with weights beside it in `<name>.data` where one file cannot hold them. Nothing half-written is left.

    :raises OutputError: writing failed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            copy = model.graph_model.clone()
            beside = f"{path.name}.data" if _tensor_bytes(copy) > PROTOBUF_LIMIT else None
            if beside is None:
                _load_external(copy)
            ir.save(copy, Path(scratch) / path.name, external_data=beside)
            for name in (beside, path.name):
                if name is not None:
                    os.replace(Path(scratch) / name, path.parent / name)
    except OSError as e:
        msg = f"saving to {path} failed ({e.strerror or e}); give a path in a folder that can be written"
        raise OutputError(msg) from e


def external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """All tensors whose data lies in another file, in subgraphs too."""
    for tensor in _tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            yield tensor


def _load_external(model: ir.Model, largest: int | None = None) -> None:
    """Read external tensors into memory, in place: those of at most so many elements, or all."""
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and (largest is None or tensor.size <= largest):
                value.const_value = ir.tensor(np.array(tensor.numpy()), dtype=tensor.dtype, name=tensor.name)
    for node in model.graph.all_nodes():
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                tensor = attribute.value
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(np.array(tensor.numpy()), dtype=tensor.dtype, name=tensor.name))


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
    for node in model.graph.all_nodes():
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute, ir.Attr):
                yield attribute.as_tensor()


def _tensor_bytes(model: ir.Model) -> int:
    return sum(tensor.nbytes for tensor in {id(t): t for t in _tensors(model)}.values())


def _common_folder(model: ir.Model) -> str:
    """The folder that all locations are relative to."""
    return str(next(Path(tensor.base_dir or ".").absolute() for tensor in external_tensors(model)))


def _load(path: Path) -> ir.Model:
    try:
        model = ir.load(path)
    except OSError as e:
        msg = f"{path} cannot be read ({e.strerror or e}); give a file that can"
        raise BadModelError(msg) from e
    except (_DecodeError, ValueError, TypeError, KeyError, AttributeError) as e:
        msg = (
            f"{path} is not an ONNX file, or is damaged ({str(e).splitlines()[0] if str(e) else type(e).__name__}); export the model again"
        )
        raise BadModelError(msg) from e
    if not len(model.graph) and not model.graph.inputs:
        msg = f"{path} is not an ONNX file, or holds an empty graph; export the model again"
        raise BadModelError(msg)
    return model


def _check(model: ir.Model, what: str) -> None:
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    newest = onnx.defs.onnx_opset_version()
    if opset is None or not OLDEST_OPSET <= opset <= newest:
        has = "names no opset" if opset is None else f"is of opset {opset}"
        msg = f"{what} {has}; opsets {OLDEST_OPSET} to {newest} are understood: export it with --opset 18, or use onnx.version_converter"
        raise BadModelError(msg)
    for tensor in external_tensors(model):
        path = Path(tensor.path)
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            msg = f"{what} keeps its weights in {path}, which is not there; copy it to that place"
            raise BadModelError(msg)
        home = Path(tensor.base_dir or ".").resolve()
        if home not in path.resolve().parents or path.stat().st_nlink > 1:
            msg = f"{path}, which holds weights of {what}, is a link out of its folder, which onnx refuses; copy the folder with cp -rL"
            raise BadModelError(msg)
        if (tensor.offset or 0) + (tensor.length or tensor.nbytes) > size:
            msg = f"{path}, which holds weights of {what}, ends too early ({size} bytes); copy it again"
            raise BadModelError(msg)
