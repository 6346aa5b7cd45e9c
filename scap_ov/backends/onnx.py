"""The steps on onnx.ModelProto and .onnx files. The caller's model is not changed.

Both forms are standard operators: `portable` writes the pattern of each site inline, `function` as one node that calls a function of
the model. `lowered`, the default of scap_ov.apply, is the inline form: lowering happens in OpenVINO, which reads the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from scap_ov.backends.openvino import fit
from scap_ov.backends.transfer import adapted
from scap_ov.config import SparsityConfig
from scap_ov.errors import BadModelError, OutputError, UsageError
from scap_ov.json_values import JsonObject
from scap_ov.models.onnx_model import OnnxModel, external_files, open_onnx, save_onnx, to_proto
from scap_ov.models.opened_onnx import OpenedOnnx, opened_onnx
from scap_ov.passes.onnx.find_sites import is_sparse
from scap_ov.passes.onnx.insert_sparsity import InsertSparsity
from scap_ov.plan import SparsityPlan
from scap_ov.progress import TitledProgress, titled
from scap_ov.sites import Site
from scap_ov.statistics.profile import CalibrationProfile
from scap_ov.storage import rt_info
from scap_ov.storage.destination import Destination
from scap_ov.storage.model_files import ONNX_FILE, model_file

if TYPE_CHECKING:
    from scap_ov.models.runner import InferenceData

FORMS = ("lowered", "portable", "function")
LOWERS = False  # no op of ours in the result, so that its speed on this machine decides nothing
__all__ = [
    "FORMS",
    "LOWERS",
    "calibrate",
    "check_plan",
    "check_stock",
    "cost",
    "find",
    "fit",
    "in_format",
    "open_model",
    "own_files",
    "record",
    "rewrite",
    "save",
    "write",
]


def open_model(model: onnx.ModelProto | OnnxModel | OpenedOnnx | str | Path) -> OpenedOnnx:
    """Open a path or a ModelProto."""
    if isinstance(model, OpenedOnnx):
        return model
    return OpenedOnnx(open_onnx(model_file(model) if isinstance(model, (str, Path)) else model))


def check_stock(model: OnnxModel | OpenedOnnx) -> None:
    """Refuse a model that is sparse already.

    :raises BadModelError: it carries a scap_ov record or a pattern.
    """
    model = opened_onnx(model)
    if model.model.has_rt_info(["scap_ov", "version"]) or is_sparse(model.model.graph_model):
        msg = "the model is sparse already; give the stock model that it was made from"
        raise BadModelError(msg)


def in_format(model: OnnxModel | OpenedOnnx, weight_format: str) -> OpenedOnnx:
    """The model itself.

    :raises UsageError: another weight format than the model's own is asked for.
    """
    if weight_format != "as_is":
        msg = f"weight_format {weight_format} is of OpenVINO models; convert the .onnx file with ovc first, or leave weight_format out"
        raise UsageError(msg)
    return opened_onnx(model)


def find(model: OnnxModel | OpenedOnnx, config: SparsityConfig) -> tuple[tuple[Site, ...], tuple[tuple[str, str], ...]]:
    """The sites of a model, and the layers that cannot be one with the reason.

    :raises BadModelError: there is no fully connected layer that could be pruned.
    """
    found = opened_onnx(model).found_for(lm_head=bool(config.lm_head))
    return tuple(match.site for match in found.some()), tuple(found.skipped)


def cost(model: OnnxModel | OpenedOnnx, dataset: InferenceData, memory: int | None = None) -> None:
    """Not known: onnxruntime runs the model as a whole.

    :raises UsageError: a limit was given.
    """
    del model, dataset
    if memory is not None:
        msg = "--memory is kept for OpenVINO models alone, which are run block by block; convert the model and calibrate the .xml"
        raise UsageError(msg)


def calibrate(
    model: OnnxModel | OpenedOnnx,
    dataset: InferenceData,
    *,
    sequential: bool = False,
    checkpoint: str | Path | None = None,
    memory: int | None = None,
    progress: TitledProgress | None = None,
) -> CalibrationProfile:
    """Observe every site on a dataset, measure how sensitive the output is to each and how thresholds drift; all in onnxruntime.

    :param sequential: observe once more, every site behind sites that are pruned at the default configuration.
    :param checkpoint: file to keep an interrupted measurement in.
    :raises UsageError: `memory` is given.
    """
    cost(model, dataset, memory)
    from scap_ov.calibration.calibrate import complete
    from scap_ov.calibration.run_onnx import observe
    from scap_ov.calibration.unfinished import Unfinished

    model = opened_onnx(model)
    kept = Unfinished(checkpoint, model, dataset, sequential)
    profile = kept.profile
    if profile is None:
        profile = observe(model, dataset, progress=titled(progress, "observing"))
        kept.keep(profile)
    profile = complete(model, dataset, profile, sequential=sequential, checkpoint=checkpoint, keep=kept.keep, progress=progress)
    return kept.finished(profile)


def check_plan(model: OnnxModel | OpenedOnnx, plan: SparsityPlan) -> None:
    """Refuse a plan or profile of another network; one of the same network's IR is taken.

    :raises MismatchError: the fingerprints differ, and the sites do too.
    """
    adapted(plan, opened_onnx(model))


def rewrite(
    model: OnnxModel | OpenedOnnx, plan: SparsityPlan, form: str, stock: Mapping[str, str], *, progress: TitledProgress | None = None
) -> onnx.ModelProto:
    """A pruned copy of a stock model.

    :param form: `portable` or `lowered`: inline; `function`: one node for each site.
    :param stock: sites to leave as they are, with the reason that is noted in the model.
    :param progress: not called: no weight is packed.
    """
    del progress
    if form not in FORMS:
        msg = f"form is {form!r}; give {', '.join(FORMS)}"
        raise UsageError(msg)
    if plan.levels:
        msg = "levels are chosen in the custom op, and an ONNX model has none; convert the .onnx file with ovc first, or leave levels out"
        raise UsageError(msg)
    if plan.notes.get("rewrite") == "cats":
        msg = "method cats is rewritten in OpenVINO models only; convert the .onnx file with ovc first, or use another method"
        raise UsageError(msg)
    model = opened_onnx(model)
    plan = adapted(plan, model)
    entries = {name: entry for name, entry in plan.entries.items() if name not in stock}
    kept = SparsityPlan(plan.config, plan.fingerprint, plan.sites, entries, plan.notes)
    skipped = find(model, replace(plan.config, lm_head=plan.has_head))[1]
    copy, found = model.copy()
    result = InsertSparsity(kept, found=found, functions=form == "function")(copy.graph_model)
    summary = rt_info.summarise(plan, "function" if form == "function" else "portable", {**stock, **dict(result.skipped)}, skipped)
    rt_info.write_record(copy, plan.config.to_dict(), summary)
    return to_proto(copy)


def own_files(file: Path) -> list[Path]:
    """The files that make up a model: the .onnx, and its external data where no other model of the folder uses it."""
    mine = external_files(file)
    others = [path for path in file.parent.glob("*.onnx") if path.name != file.name] if mine else []
    shared = {path for other in others for path in external_files(other)}
    return [file, *(path for path in mine if path not in shared)]


def write(model: onnx.ModelProto, place: Destination) -> None:
    """Write the model to a place that was checked."""
    opened = open_onnx(model)
    place.write(lambda file: save_onnx(opened, file), lambda folder: rt_info.write_config_file(opened, folder))


def record(model: onnx.ModelProto | OnnxModel) -> JsonObject:
    """Configuration and summary that `rewrite` noted in a model."""
    return rt_info.read_record(open_onnx(model)) or {}


def save(model: onnx.ModelProto | OnnxModel, path: str | Path) -> None:
    """Write `path` (.onnx, or a folder that then gets model.onnx), with weights in a file beside it where 2 GB do not hold them.

    :raises OutputError: the folder cannot be made or written, or `path` is an .xml.
    """
    path = Path(path)
    if path.suffix.lower() == ".xml":
        msg = (
            f"{path} is the name of an OpenVINO model, and this is an ONNX model; give an .onnx, or convert it with openvino.convert_model"
        )
        raise OutputError(msg)
    file = path if path.suffix.lower() == ".onnx" else path / ONNX_FILE
    opened = open_onnx(model)
    save_onnx(opened, file)
    try:
        rt_info.write_config_file(opened, file.parent)
    except OSError as e:
        msg = f"saving to {path} failed ({e.strerror or e}); give a path in a folder that can be written"
        raise OutputError(msg) from e
