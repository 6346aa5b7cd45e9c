"""What measures a model under pruning: a probe in its own runtime, or one that is run block by block."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from scap_ov.calibration.block_model import BlockModel
from scap_ov.calibration.probe import Probe
from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.errors import UncutError
from scap_ov.models.opened import OpenedModel

if TYPE_CHECKING:
    from scap_ov.models.kinds import AnyOpened

_log = logging.getLogger(__name__)


def probe_of(model: AnyOpened, *, compare: bool = True, observe: bool = False, ramp: float = 0.0, graded: bool = False) -> Probe:
    """A ProbeModel that runs in OpenVINO, or one that runs in onnxruntime.

    The options are those of ProbeModel.
    """
    if isinstance(model, OpenedModel):
        return ProbeModel(model, compare=compare, observe=observe, ramp=ramp, graded=graded)
    from scap_ov.calibration.probe_onnx import OnnxProbe

    return OnnxProbe(model, compare=compare, observe=observe, ramp=ramp, graded=graded)


def inputs_model(model: AnyOpened, prunes: Iterable[str]) -> BlockModel | Probe:
    """What gives the inputs of sites behind pruned ones (`inputs_of`): block by block where the model allows it.

    :param prunes: names of the sites that may be pruned.
    """
    if isinstance(model, OpenedModel):
        try:
            return BlockModel(model, prunes=prunes)
        except UncutError as e:
            _log.info("running the whole model at once: %s", e)
    return probe_of(model, compare=False, observe=True)
