"""An ONNX model that is open: its graph, where its external data lies, and what is noted in it.

Weights in external files stay there, mapped into memory when they are read. A model whose tensors fit into one file of 2 GB is given
back whole; a larger one keeps pointing to the files that it came from, and `save` copies them piece by piece.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir import external_data
from onnx_ir.passes.common import InlinePass

from scap_ov.atomic import scratch_folder
from scap_ov.errors import BadModelError, OutputError, reason_of
from scap_ov.passes.onnx.graph_view import GraphView, OutputView
from scap_ov.passes.onnx.infer_shapes import SMALL, infer_shapes, untranspose_gemm
from scap_ov.passes.onnx.variants import DOMAIN

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


def open_onnx(model: onnx.ModelProto | OnnxModel | str | Path) -> OnnxModel:
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
    _replace(opened, lambda tensor: _linked(tensor) if _is_linked(tensor) else tensor)
    if any(function.domain != DOMAIN for function in opened.functions.values()):  # layers in functions are out of sight
        InlinePass(lambda function: function.domain != DOMAIN)(opened)
    _load_external(opened, SMALL)  # onnxruntime and shape inference want to know them without the file
    for node in opened.graph:
        node.name = node.name or next((value.name for value in node.outputs if value.name), None)
    untranspose_gemm(opened)
    try:
        infer_shapes(opened)
    except onnx.shape_inference.InferenceError as e:
        msg = f"{what} contradicts itself ({reason_of(e)}); export the model again"
        raise BadModelError(msg) from e
    return OnnxModel(opened)


def to_proto(model: OnnxModel) -> onnx.ModelProto:
    """A ModelProto of its own, whole where protobuf can hold it; else its weights stay in the files that they came from.

    `scap_ov.save_model` writes either; `onnx.save` writes the first.
    """
    copy = model.graph_model.clone()
    if _tensor_bytes(copy) <= PROTOBUF_LIMIT:
        _load_external(copy)
    elif (folder := to_one_folder(copy)) is not None:
        copy.metadata_props[_FOLDER_KEY] = folder
    return ir.to_proto(copy)


def to_one_folder(model: ir.Model) -> str | None:
    """Make all external data relative to one folder, in place, with links followed: onnxruntime takes none that leads out of it.

    :return: the folder, or None where there is no external data.
    """
    folders = {os.path.dirname(os.path.realpath(tensor.path)) for tensor in external_tensors(model)}  # noqa: PTH120 - of a str
    if not folders:
        return None
    folder = os.path.commonpath(folders)
    _replace(model, lambda tensor: _moved(tensor, os.path.relpath(os.path.realpath(tensor.path), folder), folder))
    return folder


def save_onnx(model: OnnxModel, path: Path) -> None:
    """Write an .onnx file, with weights beside it in `<name>.data` where one file cannot hold them. Nothing half-written is left.

    :raises OutputError: writing failed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(path) as scratch:
            copy = model.graph_model.clone()
            beside = _data_name(path) if _tensor_bytes(copy) > PROTOBUF_LIMIT else None
            if beside is None:
                _load_external(copy)
            ir.save(copy, scratch / path.name, external_data=beside)
            for name in (beside, path.name):
                if name is not None:
                    os.replace(scratch / name, path.parent / name)
    except OSError as e:
        msg = f"saving to {path} failed ({e.strerror or e}); give a path in a folder that can be written"
        raise OutputError(msg) from e


def external_files(path: Path) -> list[Path]:
    """Files in which an .onnx file keeps tensors; none for a file that cannot be read."""
    try:
        return sorted({Path(tensor.path) for tensor in external_tensors(_load(path))})
    except BadModelError:
        return []


def _data_name(path: Path) -> str:
    """`<name>.data`, or where that is another model's, `<name>.1.data` and so on."""
    names = (f"{path.name}{f'.{i}' if i else ''}.data" for i in itertools.count())
    return next(name for name in names if path.exists() or not (path.parent / name).exists())


def external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """All tensors whose data lies in another file, in subgraphs too."""
    for tensor in _tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            yield tensor


def _load_external(model: ir.Model, largest: int | None = None) -> None:
    """Read external tensors into memory, in place: those of at most so many elements, or all."""

    def loaded(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
        if largest is not None and tensor.size > largest:
            return tensor
        return ir.tensor(np.array(tensor.numpy()), dtype=tensor.dtype, name=tensor.name)

    _replace(model, loaded)


def _replace(model: ir.Model, change: Callable[[ir.ExternalTensor], ir.TensorProtocol]) -> None:
    """Put another tensor in place of each external one, in subgraphs too."""
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = change(value.const_value)
    for node in model.graph.all_nodes():
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                node.attributes[name] = ir.AttrTensor(name, change(attribute.value))


def _is_linked(tensor: ir.ExternalTensor) -> bool:
    """Whether the data is reached by a link out of its folder or a hard link, as in the Hugging Face cache."""
    real, home = Path(tensor.path).resolve(), Path(tensor.base_dir or ".").resolve()
    return home not in real.parents or real.stat().st_nlink > 1


def _linked(tensor: ir.ExternalTensor) -> ir.ExternalTensor:
    """The same tensor by its whole path: onnx_ir reads no links otherwise, onnxruntime does. `_check` has looked at where it leads."""
    return _moved(tensor, os.path.realpath(tensor.path), "")


def _moved(tensor: ir.ExternalTensor, location: str, base_dir: str) -> ir.ExternalTensor:
    return ir.ExternalTensor(location, tensor.offset, tensor.length, tensor.dtype, shape=ir.Shape(tensor.shape), name=tensor.name or "",
                             doc_string=tensor.doc_string, base_dir=base_dir)  # fmt: skip


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


def _load(path: Path) -> ir.Model:
    try:
        model = ir.load(path)
    except OSError as e:
        msg = f"{path} cannot be read ({e.strerror or e}); give a file that can"
        raise BadModelError(msg) from e
    except (_DecodeError, ValueError, TypeError, KeyError, AttributeError) as e:
        msg = f"{path} is not an ONNX file, or is damaged ({reason_of(e)}); export the model again"
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
        # As onnxruntime: the name must stay inside, and links are followed, such as those of the Hugging Face cache.
        if Path(tensor.location).is_absolute() or os.path.normpath(tensor.location).startswith(".."):
            msg = f"{what} names weights outside its folder ({tensor.location}), which onnxruntime refuses; export the model again"
            raise BadModelError(msg)
        if (tensor.offset or 0) + (tensor.length or tensor.nbytes) > size:
            msg = f"{path}, which holds weights of {what}, ends too early ({size} bytes); copy it again"
            raise BadModelError(msg)
