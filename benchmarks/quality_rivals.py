"""What graded reads compete with: SmolLM2-135M quantised harder by NNCF, with all that it has for quality. For quality.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nncf
import numpy as np

from scap_ov.models.dataset import text_dataset
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.sites import SiteKind
from scap_ov.storage.model_folder import read_model

GROUP = 64  # input channels that share a scale; 576 = 9 groups
SAMPLES, LENGTH = 16, 256  # tokens of each; 64 samples of 128 took 280 s of processor time for int3
_MODES = {"int4": nncf.CompressWeightsMode.INT4_SYM, "int3": nncf.CompressWeightsMode.INT3_SYM, "int2": nncf.CompressWeightsMode.INT2_SYM}
RIVALS = {  # GPTQ wants an export by optimum-cli: what NNCF cuts out of a graph that openvino-genai read does not run
    "int4 AWQ, scale estimation": {"awq": True, "scale_estimation": True},
    "int3 AWQ, scale estimation": {"awq": True, "scale_estimation": True},
    "int2 AWQ, scale estimation": {"awq": True, "scale_estimation": True},
    "int4 GPTQ": {"gptq": True},
}


def quantised(folder: Path, name: str, text: str) -> Any:
    """The f16 model with its block weights quantised, symmetric in groups of GROUP; embedding and output projection int8.

    :param folder: of the f16 model.
    :param name: one of RIVALS.
    :param text: to calibrate on.
    """
    model = read_model(folder)
    data = text_dataset(text, folder, model, seq_len=LENGTH, max_tokens=LENGTH * SAMPLES)
    dataset = nncf.Dataset([_plain(item) for item in data.get_inference_data()]) if RIVALS[name] else None
    return nncf.compress_weights(
        model, mode=_MODES[name.split(" ", maxsplit=1)[0]], group_size=GROUP, dataset=dataset, subset_size=SAMPLES, **RIVALS[name]
    )


def bytes_of(folder: Path, name: str) -> float:
    """Bytes of weights and scales that a decoded token reads; by counting, for not every such type has a kernel of ours."""
    bits = int(name[3])
    total = 0.0
    for match in find_sites(read_model(folder), lm_head=True).matches:
        for layer in match.site.layers:
            count = layer.in_features * layer.out_features
            if match.site.kind is SiteKind.LM_HEAD:
                total += count + 3 * layer.out_features  # u8, with a scale and a zero point per output
            else:
                total += count * bits / 8 + 2 * layer.out_features * math.ceil(layer.in_features / GROUP)
    return total


def _plain(item: Any) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in item.items()}
