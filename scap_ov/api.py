"""The public verbs: calibrate, fit, apply, evaluate, benchmark, save_model. The kind of model decides the backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scap_ov.arguments import check_path, check_positive, check_progress, check_type
from scap_ov.backends import backend_of
from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.progress import TitledProgress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from scap_ov.models.kinds import AnyOpened
    from scap_ov.models.runner import InferenceData
    from scap_ov.plan import SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile

    Calibration: TypeAlias = InferenceData | CalibrationProfile | SparsityPlan
    from scap_ov.backends import AnyBackend, AnyGraph
    from scap_ov.benchmarking.decode import BenchmarkResult
    from scap_ov.benchmarking.measured import Measurements
    from scap_ov.evaluation.result import EvaluationResult
    from scap_ov.tuning.max_loss import LossLimit


def apply(
    model: object,
    calibration: Calibration | None = None,
    config: SparsityConfig | None = None,
    *,
    form: str = "lowered",
    data: InferenceData | None = None,
    max_loss: str | None = None,
    progress: TitledProgress | None = None,
) -> Any:
    """Prune a model: observe, fit, insert, and lower unless the portable form is asked for. The given model is not modified.

    :param model: openvino.Model, onnx.ModelProto, or the path of a model folder, .xml or .onnx.
    :param calibration: nncf.Dataset (anything with `get_inference_data()`), CalibrationProfile or SparsityPlan; not needed where
        `config.target_sparsity` is 0, which only brings in our ops where they are faster than stock.
    :param config: what to prune and how, SparsityConfig() by default; a SparsityPlan brings its own.
    :param form: `lowered` (custom op, CPU, fast) or `portable` (standard ops, any device). An ONNX model consists of standard ops
        in any case: `lowered` means `portable` there, and `function` makes each site a call of one ONNX function.
    :param data: nncf.Dataset beside a profile: compensation is learned on it, and `max_loss` checked.
    :param max_loss: `1%` of perplexity or `kl=0.02` nats: find the largest sparsity that loses no more on text that was not fitted on,
        `data` or half of `calibration`. The target of the configuration is not used then.
    :param progress: called with (steps done, steps or None, title).
    :return: a new model, openvino.Model or onnx.ModelProto.
    :raises BadModelError: there is nothing to prune, or the model is sparse already.
    :raises MismatchError: profile or plan belong to another model.
    """
    return apply_with_plan(model, calibration, config, form=form, data=data, max_loss=max_loss, progress=progress)[0]


def calibrate(
    model: object,
    dataset: InferenceData,
    *,
    sequential: bool = False,
    weight_format: str = "as_is",
    checkpoint: str | Path | None = None,
    memory: int | None = None,
    progress: TitledProgress | None = None,
) -> CalibrationProfile:
    """Observe the input of every site on a dataset, and measure how sensitive the output is to each; enough to fit every method.

    :param model: as for `apply`.
    :param dataset: nncf.Dataset, or anything with `get_inference_data()`; scap_ov.calibration.split.Shard makes one part of it for each of
        several machines, whose profiles merge.
    :param sequential: observe once more behind pruned sites, so that centres too are fitted to what they will see.
    :param weight_format: that of the configuration which the profile is for.
    :param checkpoint: file that keeps an interrupted measurement of sensitivity; the next run goes on from it.
    :param memory: bytes that the process shall stay below; None for no limit.
    :param progress: called with (steps done, steps or None, title).
    :raises UsageError: that is too little.
    :raises BadDatasetError: the data is empty, does not fit the model, or gives NaN.
    """
    from scap_ov.calibration.checkpoint import check_checkpoint
    from scap_ov.calibration.split import Shard

    if memory is not None:
        check_positive("memory", memory, "a number of bytes, such as 4e9, or leave it out")
    check_type("sequential", sequential, bool, "True or False")
    check_progress(progress)
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    if sequential and isinstance(dataset, Shard):
        msg = "sequential profiles of shards cannot be merged; leave sequential out, or calibrate in one run"
        raise UsageError(msg)
    backend = backend_of(model)
    opened = backend.open_model(model)
    backend.check_stock(opened)
    opened = backend.in_format(opened, SparsityConfig(weight_format=weight_format).weight_format)
    profile = backend.calibrate(opened, _dataset(dataset), sequential=sequential, checkpoint=checkpoint, memory=memory, progress=progress)
    return profile.of_shard(dataset.name) if isinstance(dataset, Shard) else profile


def fit(profile: CalibrationProfile, config: SparsityConfig | None = None) -> SparsityPlan:
    """Decide centre and threshold of every site; numpy only, the model is not needed.

    :param profile: what `calibrate` observed.
    :param config: what to prune and how, SparsityConfig() by default.
    :raises UsageError: the configuration names sites that are not there, or asks for what the method cannot do.
    """
    from scap_ov.fitting.fit import fit as fit_plan
    from scap_ov.statistics.profile import CalibrationProfile

    check_type("profile", profile, CalibrationProfile, "a CalibrationProfile, as calibrate makes it")
    config = _checked(config)
    if config.compensation:
        msg = "compensation is learned on the model, and fit has none; use apply with a dataset"
        raise UsageError(msg)
    return fit_plan(profile, config)


def evaluate(model: object, reference: object, text: str | Path | Sequence[object], **options: Any) -> EvaluationResult:
    """Quality of a model against a reference on text; options as in scap_ov.evaluation.evaluate.evaluate.

    :param model: an openvino.Model, or a folder or file.
    :param reference: the stock model, likewise.
    :param text: a text, the path of a text file or .jsonl, or windows of token ids.
    """
    from scap_ov.evaluation.evaluate import evaluate as run

    return run(model, reference, text, **options)


def benchmark(model: str | Path, reference: str | Path, **options: Any) -> BenchmarkResult:
    """Speed and memory of a model folder against another; options as in scap_ov.benchmarking.decode.benchmark.

    :param model: the folder of the pruned model.
    :param reference: the folder of the stock model.
    """
    from scap_ov.benchmarking.decode import benchmark as run

    return run(model, reference, **options)


def save_model(model: object, path: str | Path, *, like: str | Path | None = None, overwrite: bool = False) -> None:
    """Save a model with 64-byte aligned weights, and scap_config.json beside it.

    :param model: openvino.Model or onnx.ModelProto.
    :param path: an .xml or .onnx file, or a folder that gets openvino_model.xml or model.onnx.
    :param like: the stock model, a folder or a file: `path` becomes a complete folder with its tokenizers and configurations, as
        `scap-ov apply` writes it, and must be new or empty.
    :param overwrite: with `like`: replace a folder that scap_ov wrote.
    :raises OutputError: it cannot be written; nothing half-written is left.
    :raises BadModelError: `like` is no model.
    """
    check_path("path", path, "the path of an .xml or .onnx file, or of a folder, such as '.'")
    check_type("overwrite", overwrite, bool, "True or False")
    if like is not None:
        check_path("like", like, "the stock model's folder or file")
    backend = backend_of(model)
    if like is None:
        backend.save(model, path)
    else:
        from scap_ov.storage.destination import destination
        from scap_ov.storage.model_files import model_file

        backend.write(model, destination(like, path, backend.own_files(model_file(like)), overwrite=overwrite))


def apply_with_plan(
    model: object,
    calibration: Calibration | None,
    config: SparsityConfig | None = None,
    *,
    form: str = "lowered",
    data: InferenceData | None = None,
    max_loss: str | None = None,
    measured: Measurements | None = None,
    progress: TitledProgress | None = None,
) -> tuple[AnyGraph, SparsityPlan]:
    """As `apply`, and the plan that was applied with it. For the CLI.

    :param measured: where `replace="where_faster"` finds and keeps what it measures; by default the user's cache.
    """
    from scap_ov.plan import SparsityPlan

    backend = backend_of(model)
    if form not in backend.FORMS:
        msg = f"form is {form!r}; give one of {', '.join(backend.FORMS)}"
        raise UsageError(msg)
    chosen = _checked(calibration.config if isinstance(calibration, SparsityPlan) and config is None else config)
    limit = _limit(max_loss)
    check_progress(progress)
    opened = backend.open_model(model)
    backend.check_stock(opened)
    opened = backend.in_format(opened, chosen.weight_format)
    if isinstance(calibration, SparsityPlan):
        if config is not None and config != calibration.config:
            msg = "a SparsityPlan brings its own configuration, so config must be left out; fit another plan to change it"
            raise UsageError(msg)
        plan = calibration
    else:
        plan = _plan(backend, opened, calibration, chosen, data, limit, progress)
    backend.check_plan(opened, plan)
    stock: dict[str, str] = {}
    if form == "lowered" and backend.LOWERS and plan.config.replace == "where_faster":
        from scap_ov.benchmarking.decision import with_decision

        plan, stock = with_decision(_with_head(backend, opened, plan), measured, progress)
    return backend.rewrite(opened, plan, form, stock, progress=progress), plan


def _with_head(backend: AnyBackend, model: AnyOpened, plan: SparsityPlan) -> SparsityPlan:
    """The plan with the output projection as it is, so that it goes through our op where that is faster; see `lm_head` of the config."""
    from scap_ov.fitting.output_projection import with_dense_head

    if plan.left_stock is not None:
        return plan
    return with_dense_head(plan, backend.find(model, plan.config)[0])


def _limit(max_loss: str | None) -> LossLimit | None:
    if max_loss is None:
        return None
    from scap_ov.tuning.max_loss import LossLimit

    return LossLimit.parse(max_loss)


def _plan(
    backend: AnyBackend,
    model: AnyOpened,
    calibration: Calibration | None,
    config: SparsityConfig,
    data: InferenceData | None,
    limit: LossLimit | None,
    progress: TitledProgress | None,
) -> SparsityPlan:
    from scap_ov.statistics.profile import CalibrationProfile

    if config.drops_nothing and not limit:
        return _lossless(backend, model, config)
    if isinstance(calibration, CalibrationProfile):
        profile, fitted, held_out = calibration, data, data
        if data is None and (limit or config.compensation):
            what = "max-loss is checked on text that is held out" if limit else "compensation is learned on text"
            msg = f"{what}, and a profile holds none; give text beside the profile (data=, or --data), or calibrate on data"
            raise UsageError(msg)
    else:
        from scap_ov.calibration.split import HeldOutSplit

        fitted = _dataset(calibration)
        held_out = HeldOutSplit(fitted, held_out=True)
        fitted = HeldOutSplit(fitted, held_out=False) if limit else fitted
        profile = backend.calibrate(model, fitted, sequential=False, progress=progress)
    if limit and config.levels:
        msg = "max-loss finds one sparsity, and levels are several; leave one of the two out"
        raise UsageError(msg)
    if not limit or held_out is None:  # a limit was refused above where there is none
        return backend.fit(model, profile, fitted, config, progress=progress)
    from scap_ov.tuning.max_loss import largest_sparsity

    if config.fewer_experts:
        msg = "max-loss measures plans with all experts; leave it or fewer_experts out"
        raise UsageError(msg)
    if config.compensation:
        msg = "max-loss searches plans without compensation; leave one of the two out"
        raise UsageError(msg)
    shown = None if progress is None else lambda done, total: progress(done, total, "searching the largest sparsity")
    return largest_sparsity(model, held_out, profile, config, limit, progress=shown).plan


def _lossless(backend: AnyBackend, model: AnyOpened, config: SparsityConfig) -> SparsityPlan:
    from scap_ov.fitting.lossless import lossless_plan

    if not backend.LOWERS:
        msg = "target_sparsity 0 drops nothing, and only the custom op of an OpenVINO model is faster then; convert the file with ovc first"
        raise UsageError(msg)
    return lossless_plan(backend.find(model, config)[0], config, model.fingerprint)


def _checked(config: SparsityConfig | None) -> SparsityConfig:
    if config is None:
        return SparsityConfig()
    check_type("config", config, SparsityConfig, "a SparsityConfig; SparsityConfig.from_dict makes one of plain values")
    return config


def _dataset(dataset: object) -> InferenceData:
    if not hasattr(dataset, "get_inference_data"):
        msg = f"calibration is of type {type(dataset).__name__}; give an nncf.Dataset, a CalibrationProfile or a SparsityPlan"
        raise UsageError(msg)
    return dataset
