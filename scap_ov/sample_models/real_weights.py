"""Write SmolLM2-135M with its real weights in another weight form: f16, or compressed by nncf as optimum-cli does. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from openvino import opset13 as ops

from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.weights_to_int8 import weights_to_int8
from scap_ov.storage.model_folder import read_model, write_model_folder

if TYPE_CHECKING:
    import openvino as ov

FORMS = ("f16", "i8", "i4")  # i8: asymmetric per channel; i4: symmetric, groups of 64, output projection int8


def write_in_form(stock: Path, form: str, folder: Path) -> Path:
    """A copy of a model folder whose fully connected layers have weights of another form.

    :param stock: folder with openvino_model.xml.
    :param form: one of FORMS.
    :raises OutputError: the folder is not empty or cannot be written.
    """
    model = with_f16_weights(read_model(stock))
    if form == "i8":
        model = weights_to_int8(model)
    elif form == "i4":
        import nncf

        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, group_size=64)
    return write_model_folder(model, stock, folder)


def with_f16_weights(model: ov.Model) -> ov.Model:
    """Replace the weight of every fully connected layer by f16 constants of the same values, in place."""
    for match in find_sites(model, lm_head=True).matches:
        for matmul, weight in zip(match.matmuls, match.weights, strict=True):
            dense = ops.constant(np.ascontiguousarray(weight[0 : weight.n], np.float16))
            name = matmul.get_friendly_name() + "/weight"
            dense.set_friendly_name(name)
            replaced = ops.matmul(matmul.input_value(0), ops.convert(dense, np.float32), False, True)
            replaced.set_friendly_name(matmul.get_friendly_name())
            for reader in matmul.output(0).get_target_inputs():
                reader.replace_source_output(replaced.output(0))
    model.validate_nodes_and_infer_types()
    return model
