"""The one place where kinds of models are told apart: OpenVINO or ONNX, as a path, a graph, or opened."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import openvino as ov

from scap_ov.errors import UsageError
from scap_ov.models.opened import Opened, OpenedModel, opened_model
from scap_ov.storage.model_files import model_file

if TYPE_CHECKING:
    from scap_ov.models.onnx_model import OnnxModel
    from scap_ov.models.opened_onnx import OpenedOnnx

    AnyOpened: TypeAlias = OpenedModel | OpenedOnnx
    Model: TypeAlias = ov.Model | OnnxModel | OpenedModel | OpenedOnnx  # what the steps of calibration take


class Kind(Enum):
    """What a model is written in; the value names the module of scap_ov.backends."""

    OPENVINO = "openvino"
    ONNX = "onnx"


def kind_of(model: object) -> Kind:
    """Tell what a model is.

    :param model: openvino.Model, onnx.ModelProto, one that was opened, or the path of a model folder, .xml or .onnx.
    :raises BadModelError: the path holds no model.
    :raises UsageError: the object is of no kind that scap_ov knows.
    """
    if isinstance(model, (str, Path)):
        return Kind.ONNX if model_file(model).suffix.lower() == ".onnx" else Kind.OPENVINO
    if isinstance(model, Opened):
        return kind_of(model.model)
    if isinstance(model, ov.Model):
        return Kind.OPENVINO
    if type(model).__name__ == "ModelProto" or hasattr(model, "graph_model"):  # onnx may not be installed
        return Kind.ONNX
    kind = f"{type(model).__module__}.{type(model).__name__}"
    msg = f"a model of type {kind} is not supported; give an openvino.Model, an onnx.ModelProto, or the path of a folder, .xml or .onnx"
    raise UsageError(msg)


def opened(model: Model) -> AnyOpened:
    """A graph with what is known of it; one that was opened before is given back as it is."""
    if isinstance(model, (ov.Model, OpenedModel)):
        return opened_model(model)
    from scap_ov.models.opened_onnx import opened_onnx

    return opened_onnx(model)
