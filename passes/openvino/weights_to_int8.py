"""Bring float weights into 8 bits, asymmetric per output channel, as optimum-cli does by default; so that they can be read by half.

Groups would gain nothing here: the integer step that a group of the high plane gets (custom_ops.formats.planes) makes up for the one scale.
"""

from __future__ import annotations

import logging
import os
from contextlib import redirect_stdout
from pathlib import Path

import openvino as ov

from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.rules.weight_matrix import NOT_FINITE


def weights_to_int8(model: ov.Model) -> ov.Model:
    """A copy of a model in which NNCF has compressed float weights; integer weights stay as they are, and so do those with NaN or infinity.

    :raises BadModelError: the model is sparse already, or has no layer.
    """
    import nncf

    odd = [name for name, reason in find_sites(model, lm_head=True).skipped if NOT_FINITE in reason]

    level = logging.getLogger("nncf").level
    nncf.set_log_level(logging.ERROR)  # it tells of its work on standard output, which is for figures
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            return nncf.compress_weights(model.clone(), mode=nncf.CompressWeightsMode.INT8_ASYM, ignored_scope=nncf.IgnoredScope(names=odd))
    finally:
        nncf.set_log_level(level or logging.INFO)
