"""The steps on openvino.Model. Nothing here changes the caller's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import openvino as ov

from scap_ov.backends.transfer import adapted
from scap_ov.config import SparsityConfig
from scap_ov.custom_ops import OP_NAMES
from scap_ov.errors import BadModelError, OutputError, UsageError
from scap_ov.json_values import JsonObject
from scap_ov.models.opened import Graph, Opened, OpenedModel, opened_model
from scap_ov.passes.base import PassResult
from scap_ov.plan import SparsityPlan
from scap_ov.progress import TitledProgress, titled
from scap_ov.sites import Site
from scap_ov.statistics.profile import CalibrationProfile
from scap_ov.storage import rt_info
from scap_ov.storage.aligned import save_aligned
from scap_ov.storage.destination import Destination
from scap_ov.storage.model_files import MODEL_FILE
from scap_ov.storage.model_folder import read_model

if TYPE_CHECKING:
    from scap_ov.calibration.cost import Cost
    from scap_ov.models.runner import InferenceData
    from scap_ov.passes.openvino.joined_constant import JoinedConstant

FORMS = ("lowered", "portable")
LOWERS = True  # the result may hold the custom op


def open_model(model: ov.Model | OpenedModel | str | Path) -> OpenedModel:
    """Read a path; an ov.Model is taken as it is, or a copy where inputs of layers had to be straightened."""
    from scap_ov.passes.openvino.straighten_inputs import StraightenInputs, is_turned

    if isinstance(model, OpenedModel):
        return model
    if isinstance(model, (str, Path)):
        return OpenedModel(StraightenInputs()(read_model(model)).model)
    return OpenedModel(StraightenInputs()(model.clone()).model if any(map(is_turned, model.get_ordered_ops())) else model)


def check_stock(model: ov.Model | OpenedModel) -> None:
    """Refuse a model that is sparse already.

    :raises BadModelError: it carries a scap_ov record or one of our ops.
    """
    graph = opened_model(model).model
    sparse = graph.has_rt_info(["scap_ov", "version"]) or any(op.get_type_name() in OP_NAMES for op in graph.get_ops())
    if sparse:
        msg = "the model is sparse already; give the stock model that it was made from"
        raise BadModelError(msg)


def in_format(model: ov.Model | OpenedModel, weight_format: str) -> OpenedModel:
    """The model with its weights in the format of a configuration; itself where that is `as_is`."""
    model = opened_model(model)
    if weight_format == "as_is":
        return model
    from scap_ov.passes.openvino.weights_to_int8 import weights_to_int8

    return OpenedModel(weights_to_int8(model.model))


def find(model: ov.Model | OpenedModel, config: SparsityConfig) -> tuple[tuple[Site, ...], tuple[tuple[str, str], ...]]:
    """The sites of a model, and the layers that cannot be one with the reason.

    :raises BadModelError: there is no fully connected layer that could be pruned.
    """
    found = opened_model(model).found_for(lm_head=bool(config.lm_head))
    return tuple(match.site for match in found.some()), tuple(found.skipped)


def cost(model: ov.Model | OpenedModel, dataset: InferenceData, memory: int | None = None) -> Cost:
    """What a calibration will take; the parameters are those of `calibrate`."""
    from scap_ov.calibration.cost import expected_cost, sizes_of

    model = opened_model(model)
    return expected_cost(model, *sizes_of(model.model, dataset), memory)


def calibrate(
    model: ov.Model | OpenedModel,
    dataset: InferenceData,
    *,
    sequential: bool = False,
    checkpoint: str | Path | None = None,
    memory: int | None = None,
    progress: TitledProgress | None = None,
) -> CalibrationProfile:
    """Observe every site on a dataset, and measure how sensitive the model's output is to each and how thresholds drift.

    :param sequential: observe once more, every site behind sites that are pruned at the default configuration.
    :param checkpoint: file to keep an interrupted measurement in; what is observed and measured by then lies beside it, as `.profile`.
    :param memory: bytes that the process shall stay below; None for no limit.
    :raises UsageError: that is too little.
    """
    from scap_ov.calibration.calibrate import complete
    from scap_ov.calibration.observe import GROUP_BYTES, observe
    from scap_ov.calibration.unfinished import Unfinished

    model = opened_model(model)
    group = GROUP_BYTES if memory is None else cost(model, dataset, memory).group
    kept = Unfinished(checkpoint, model, dataset, sequential)
    profile = kept.profile
    if profile is None or not profile.sensitivity:
        keep = kept.keep if kept.kept else None
        profile = observe(model, dataset, group_bytes=group, so_far=profile, keep=keep, progress=titled(progress, "observing"))
        kept.keep(profile)
    profile = complete(model, dataset, profile, sequential=sequential, checkpoint=checkpoint, keep=kept.keep, progress=progress)
    return kept.finished(profile)


def fit(
    model: ov.Model | Opened[Graph], profile: CalibrationProfile, dataset: InferenceData | None, config: SparsityConfig, *,
    progress: TitledProgress | None = None,
) -> SparsityPlan:  # fmt: skip
    """Fit a plan while the model and its data are still at hand: with `config.compensation`, learn that too.

    :raises UsageError: compensation is asked for, and the model is no OpenVINO model.
    """
    from scap_ov.fitting.fit import fit as fit_plan

    plan = fit_plan(profile, config, progress=titled(progress, "fitting"))
    if not config.compensation or not plan.entries:
        return plan
    if not isinstance(model, (ov.Model, OpenedModel)):
        msg = "compensation is learned on OpenVINO models only; read the .onnx file with openvino, or leave compensation out"
        raise UsageError(msg)
    if dataset is None:
        msg = "compensation is learned on text; give a dataset"
        raise UsageError(msg)
    from scap_ov.tuning.compensation import fit_compensation

    return fit_compensation(model, dataset, profile, plan, progress=titled(progress, "learning compensation"))


def check_plan(model: ov.Model | OpenedModel, plan: SparsityPlan) -> None:
    """Refuse a plan or profile of another network; one of the same network's ONNX file is taken.

    :raises MismatchError: the fingerprints differ, and the sites do too.
    """
    adapted(plan, opened_model(model))


def rewrite(
    model: ov.Model | OpenedModel, plan: SparsityPlan, form: str, stock: Mapping[str, str], *, progress: TitledProgress | None = None
) -> ov.Model:
    """A pruned copy of a stock model.

    :param form: `lowered` or `portable`.
    :param stock: sites to leave as they are, with the reason that is noted in the model.
    :param progress: of packing the weights.
    """
    from scap_ov.evaluation.extract_plan import pruned_sites
    from scap_ov.passes.openvino.insert_cats import InsertCats
    from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
    from scap_ov.passes.openvino.level_blocks import PlannedLevels
    from scap_ov.passes.openvino.lowering import insert_and_lower, lower

    if form not in FORMS:
        msg = f"form is {form!r}; give lowered or portable"
        raise UsageError(msg)
    model = opened_model(model)
    plan = adapted(plan, model)
    if plan.levels and form != "lowered":
        msg = f"form is {form!r}, which holds one level; leave levels out, or take the lowered form"
        raise UsageError(msg)
    structure = plan.widest()
    entries = {name: entry for name, entry in structure.entries.items() if name not in stock}
    kept = replace(structure, entries=entries)
    skipped = find(model, replace(plan.config, lm_head=plan.has_head))[1]
    reasons = dict(stock)
    clone, found = model.copy()
    cats = plan.notes.get("rewrite") == "cats"
    packing = titled(progress, "packing weights (sites)")
    if form == "lowered" and not cats:
        levels = PlannedLevels(plan) if plan.levels else None
        result, lowered = insert_and_lower(clone, kept, found, levels=levels, progress=packing)
    else:
        result = (InsertCats if cats else InsertSparsity)(kept, found=found)(clone)
        lowered = PassResult(clone, False)
        if form == "lowered":
            lowered = lower(clone, dynamic_quantization=plan.config.dynamic_quantization, progress=packing)
    made = result.model
    reasons.update(dict(result.skipped))
    reasons.update({name: f"{rt_info.NOT_LOWERED}: {reason}" for name, reason in lowered.skipped})
    if entries and not cats:  # the record says what is in the model
        there = pruned_sites(made)
        lost = [name for name in entries if name not in reasons and name not in there]
        reasons.update(dict.fromkeys(lost, "stock: what pruning wrote for it is not recognised"))
    rt_info.write_record(made, plan.config.to_dict(), rt_info.summarise(plan, form, reasons, skipped))
    return made


def own_files(xml: Path) -> list[Path]:
    """The files that make up a model."""
    return [xml, xml.with_suffix(".bin")]


def write(model: ov.Model, place: Destination) -> None:
    """Write the model, with aligned weights, to a place that was checked."""
    named = place.path if place.beside else place.path.with_suffix("")
    place.write(lambda file: _save(model, named.resolve().name, file), lambda folder: rt_info.write_config_file(model, folder))


def record(model: ov.Model) -> JsonObject:
    """Configuration and summary that `rewrite` noted in a model."""
    return rt_info.read_record(model) or {}


def save(model: ov.Model, path: str | Path) -> None:
    """Write `path` (.xml, or a folder that then gets openvino_model.xml) with aligned weights, and scap_config.json beside it.

    :raises OutputError: the folder cannot be made or written.
    """
    path = Path(path)
    xml = path if path.suffix.lower() == ".xml" else path / MODEL_FILE
    try:
        xml.parent.mkdir(parents=True, exist_ok=True)
        named = xml.parent if xml.name == MODEL_FILE else xml.with_suffix("")
        _save(model, named.resolve().name, xml)
        rt_info.write_config_file(model, xml.parent)
    except OSError as e:
        msg = f"saving to {path} failed ({e.strerror or e}); give a path in a folder that can be written"
        raise OutputError(msg) from e


def _save(model: ov.Model, name: str, xml: Path) -> None:
    """Write the .xml and .bin of a model: with levels one that bears the name by which they are chosen, with `fuse_blocks` a fused one."""
    from scap_ov.passes.openvino.fuse_blocks import FuseBlocks
    from scap_ov.passes.openvino.level_blocks import levels_in, name_model
    from scap_ov.passes.openvino.split_blocks import SplitBlocks

    config = record(model).get("config")  # none of a model that was not rewritten; where it does not say, the default holds
    fused = config is not None and bool(config.get("fuse_blocks", True))
    unfilled: dict[str, JoinedConstant] = {}
    if fused or levels_in(model) is not None:
        model = SplitBlocks()(model.clone()).model
        name_model(model, name)
    if fused:
        FuseBlocks(unfilled)(model)
    save_aligned(model, xml, unfilled)
