"""What differs between kinds of models when they are measured: the fingerprint, and the probe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scap_ov.calibration.probe_model import ProbeModel


def fingerprint_of(model: Any) -> str:
    """Fingerprint of an ov.Model or OnnxModel."""
    if _is_onnx(model):
        from scap_ov.passes.onnx import find_sites

        return find_sites.fingerprint(model.graph_model)
    from scap_ov.passes.openvino.find_sites import fingerprint

    return fingerprint(model)


def probe_of(model: Any, **options: Any) -> ProbeModel:
    """A ProbeModel that runs in OpenVINO, or one that runs in onnxruntime.

    :param options: of ProbeModel.
    """
    if _is_onnx(model):
        from scap_ov.calibration.probe_onnx import OnnxProbe

        return OnnxProbe(model, **options)
    from scap_ov.calibration.probe_model import ProbeModel

    return ProbeModel(model, **options)


def _is_onnx(model: Any) -> bool:
    return hasattr(model, "graph_model")
