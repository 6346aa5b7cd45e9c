"""What the steps find, observe, insert and lower are for one kind of model. One module per kind, all with the functions of openvino.py."""

from __future__ import annotations

from scap_ov.backends.protocol import Backend
from scap_ov.models.kinds import Kind, kind_of
from scap_ov.optional import optional


def backend_of(model: object) -> Backend:
    """The backend module for a model.

    :param model: openvino.Model, onnx.ModelProto, one that a backend opened, or the path of a model folder, .xml or .onnx.
    :raises BadModelError: the path holds no model.
    :raises UsageError: the object is of no kind that scap_ov knows.
    """
    if kind_of(model) is Kind.OPENVINO:
        from scap_ov.backends import openvino

        return openvino
    try:
        from scap_ov.backends import onnx
    except ImportError:
        for package in ("onnx", "onnx_ir", "onnxruntime"):
            optional(package, "ONNX models need", "'scap_ov[onnx]'")
        raise
    return onnx
