"""Bring float weights into 8 bits, asymmetric per output channel, as optimum-cli does by default; so that they can be read by half.

Groups would gain nothing here: the integer step that a group of the high plane gets (custom_ops.formats.planes) makes up for the one scale.
"""

from __future__ import annotations

import logging
import os
from contextlib import redirect_stdout
from pathlib import Path

import openvino as ov


def weights_to_int8(model: ov.Model) -> ov.Model:
    """A copy of a model in which NNCF has compressed every float weight; integer weights stay as they are."""
    import nncf

    level = logging.getLogger("nncf").level
    nncf.set_log_level(logging.ERROR)  # it tells of its work on standard output, which is for figures
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            return nncf.compress_weights(model.clone(), mode=nncf.CompressWeightsMode.INT8_ASYM)
    finally:
        nncf.set_log_level(level or logging.INFO)
