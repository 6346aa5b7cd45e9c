"""What the steps find, observe, insert and lower are for one kind of model. One module per kind, all with the functions of openvino.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from scap_ov.backends.protocol import Backend
from scap_ov.models.kinds import Kind, kind_of
from scap_ov.optional import optional

if TYPE_CHECKING:
    import onnx as onnx_package
    import openvino as ov

    from scap_ov.models.kinds import AnyOpened
    from scap_ov.models.opened import OpenedModel
    from scap_ov.models.opened_onnx import OpenedOnnx

    AnyGraph: TypeAlias = ov.Model | onnx_package.ModelProto
    AnyBackend: TypeAlias = Backend[AnyOpened, AnyGraph]


def backend_of(model: object) -> AnyBackend:
    """The backend module for a model. It takes what it opened and wrote itself; the types say as much from here on, and no more.

    :param model: openvino.Model, onnx.ModelProto, one that a backend opened, or the path of a model folder, .xml or .onnx.
    :raises BadModelError: the path holds no model.
    :raises UsageError: the object is of no kind that scap_ov knows.
    """
    if kind_of(model) is Kind.OPENVINO:
        from scap_ov.backends import openvino

        for_openvino: Backend[OpenedModel, ov.Model] = openvino
        return cast("AnyBackend", for_openvino)
    try:
        from scap_ov.backends import onnx
    except ImportError:
        for package in ("onnx", "onnx_ir", "onnxruntime"):
            optional(package, "ONNX models need", "'scap_ov[onnx]'")
        raise
    for_onnx: Backend[OpenedOnnx, onnx_package.ModelProto] = onnx
    return cast("AnyBackend", for_onnx)
