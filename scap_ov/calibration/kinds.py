"""What differs between kinds of models when they are measured: the fingerprint, and the probe."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scap_ov.calibration.block_model import BlockModel
    from scap_ov.calibration.probe_model import ProbeModel

_log = logging.getLogger(__name__)


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


def inputs_model(model: Any, prunes: Iterable[str]) -> BlockModel | ProbeModel:
    """What gives the inputs of sites behind pruned ones (`inputs_of`): block by block where the model allows it.

    :param prunes: names of the sites that may be pruned.
    """
    from scap_ov.errors import UncutError

    if not _is_onnx(model):
        from scap_ov.calibration.block_model import BlockModel

        try:
            return BlockModel(model, prunes=prunes)
        except UncutError as e:
            _log.info("running the whole model at once: %s", e)
    return probe_of(model, compare=False, observe=True)


def _is_onnx(model: Any) -> bool:
    return hasattr(model, "graph_model")
