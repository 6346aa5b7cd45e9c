"""Read models of folders, and write complete folders atomically: a killed run or a full disk leaves the old state or nothing."""

from __future__ import annotations

from pathlib import Path

import openvino as ov

from scap_ov.atomic import new_folder
from scap_ov.custom_ops import OP_NAMES
from scap_ov.errors import BadModelError, ExtensionError, reason_of
from scap_ov.passes.onnx.openvino_functions import conversions
from scap_ov.passes.openvino.split_blocks import SplitBlocks
from scap_ov.storage import rt_info
from scap_ov.storage.aligned import save_aligned
from scap_ov.storage.companions import companions
from scap_ov.storage.model_files import MODEL_FILE, is_lowered_file, model_file
from scap_ov.storage.outputs import check_folder
from scap_ov.storage.state_names import objection


def read_model(path: str | Path, core: ov.Core | None = None, *, as_it_runs: bool = False) -> ov.Model:
    """Read the model of a folder or an .xml, with the extension library registered when the model needs it.

    :param core: the Core to read with; a new one by default.
    :param as_it_runs: leave fused blocks as they are; by default they are split, so that there is an op for every site.
    :raises BadModelError: there is no model, or OpenVINO cannot read it.
    :raises ExtensionError: the model is in lowered form and the library is not there.
    """
    xml = model_file(path)
    core = core or ov.Core()
    if xml.suffix.lower() == ".xml" and is_lowered_file(xml):
        from scap_ov.runtime import register  # here, so that stock and portable models need no library

        register(core)
    if xml.suffix.lower() == ".onnx":
        for conversion in conversions():
            core.add_extension(conversion)
    why = objection(xml) if xml.suffix.lower() == ".xml" else None
    if why is not None:
        msg = f"OpenVINO cannot read {xml} ({why}); export the model again, or apply its plan again"
        raise BadModelError(msg)
    try:
        model = core.read_model(str(xml))
    except RuntimeError as e:
        if "unsupported opset" in str(e) and any(name in str(e) for name in OP_NAMES):
            msg = f"{xml} needs the extension library, which is not registered; run `scap-ov build-extension`, or use the portable form"
            raise ExtensionError(msg) from e
        msg = f"OpenVINO cannot read {xml} ({reason_of(e)}); export the model again, or apply its plan again"
        raise BadModelError(msg) from e
    return model if as_it_runs else SplitBlocks()(model).model


def write_model_folder(model: ov.Model, source: Path | None, folder: str | Path) -> Path:
    """Write a model folder: openvino_model.xml with aligned weights, scap_config.json, and what `source` holds beside its model.

    :param source: a folder with tokenizers and configs, or None.
    :raises OutputError: the folder is not empty or cannot be written; nothing is left half-written.
    """
    stock = None if source is None else source / MODEL_FILE
    beside = None if stock is None else companions(stock, [stock, stock.with_suffix(".bin")])
    check_folder(folder, source=source)
    with new_folder(folder) as scratch:
        if beside is not None:
            beside.copy(scratch)
        save_aligned(model, scratch / MODEL_FILE)
        rt_info.write_config_file(model, scratch)
    return Path(folder)
