"""Bring float weights into 8 bits, asymmetric per output channel, as optimum-cli does by default; so that they can be read by half.

Groups would gain nothing here: the integer step that a group of the high plane gets (custom_ops.formats.planes) makes up for the one scale.
"""

from __future__ import annotations

import logging
import os
from contextlib import redirect_stdout
from pathlib import Path

import openvino as ov

from scap_ov.passes.rules.constants import is_finite


def weights_to_int8(model: ov.Model) -> ov.Model:
    """A copy of a model in which NNCF has compressed float weights.

    Integer weights stay as they are, and so do those with NaN or infinity, which NNCF would spread over the whole row, whatever reads them.
    """
    import nncf

    matrices = [node for node in model.get_ops() if node.get_type_name() == "Constant" and len(node.shape) > 1]
    odd = [node.get_friendly_name() for node in matrices if not is_finite(node)]
    level = logging.getLogger("nncf").level
    nncf.set_log_level(logging.ERROR)  # it tells of its work on standard output, which is for figures
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            return nncf.compress_weights(model.clone(), mode=nncf.CompressWeightsMode.INT8_ASYM, ignored_scope=nncf.IgnoredScope(names=odd))
    finally:
        nncf.set_log_level(level or logging.INFO)
