"""What the steps find, observe, insert and lower are for one kind of model. One module per kind, all with the functions of openvino.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scap_ov.backends.protocol import Backend
from scap_ov.errors import UsageError
from scap_ov.optional import optional
from scap_ov.storage.model_files import model_file


def backend_of(model: Any) -> Backend:
    """The backend module for a model.

    :param model: openvino.Model, onnx.ModelProto, or the path of a model folder, .xml or .onnx.
    :raises BadModelError: the path holds no model.
    :raises UsageError: the object is of no kind that scap_ov knows.
    """
    if isinstance(model, (str, Path)):
        return _load("onnx" if model_file(model).suffix.lower() == ".onnx" else "openvino")
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if kind.startswith(("openvino", "_pyopenvino")) and hasattr(model, "get_ordered_ops"):
        return _load("openvino")
    if type(model).__name__ == "ModelProto" or hasattr(model, "graph_model"):  # the latter is what backends.onnx opens
        return _load("onnx")
    msg = f"a model of type {kind} is not supported; give an openvino.Model, an onnx.ModelProto, or the path of a folder, .xml or .onnx"
    raise UsageError(msg)


def _load(name: str) -> Backend:
    if name == "openvino":
        from scap_ov.backends import openvino

        return openvino
    try:
        from scap_ov.backends import onnx
    except ImportError:
        for package in ("onnx", "onnx_ir", "onnxruntime"):
            optional(package, "ONNX models need", "'scap_ov[onnx]'")
        raise
    return onnx
