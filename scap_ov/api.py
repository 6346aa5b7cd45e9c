"""The public verbs: find, observe, fit, insert and lower in order. No logic of its own; the kind of model decides the backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scap_ov.backends import backend_of
from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError

if TYPE_CHECKING:
    from scap_ov.benchmarking.decode import BenchmarkResult
    from scap_ov.evaluation.result import EvaluationResult
    from scap_ov.plan import SparsityPlan
    from scap_ov.profile import CalibrationProfile

Progress = Callable[..., None]


def apply(
    model: Any, calibration: Any, config: SparsityConfig | None = None, *, form: str = "lowered", progress: Progress | None = None
) -> Any:
    """Prune a model: observe, fit, insert, and lower unless the portable form is asked for. The given model is not modified.

    :param model: openvino.Model, onnx.ModelProto, or the path of a model folder, .xml or .onnx.
    :param calibration: nncf.Dataset (anything with `get_inference_data()`), CalibrationProfile or SparsityPlan.
    :param config: what to prune and how, SparsityConfig() by default; a SparsityPlan brings its own.
    :param form: `lowered` (custom op, CPU, fast) or `portable` (standard ops, any device). An ONNX model consists of standard ops
        in any case: `lowered` means `portable` there, and `function` makes one box of each site's.
    :param progress: called with (steps done, steps or None, title).
    :return: a new model, openvino.Model or onnx.ModelProto.
    :raises BadModelError: there is nothing to prune, or the model is sparse already.
    :raises MismatchError: profile or plan belong to another model.
    """
    return apply_with_plan(model, calibration, config, form=form, progress=progress)[0]


def calibrate(model: Any, dataset: Any, *, sequential: bool = False, progress: Progress | None = None) -> CalibrationProfile:
    """Observe the input of every site on a dataset; the profile is enough to fit every method.

    :param model: as for `apply`.
    :param dataset: nncf.Dataset, or anything with `get_inference_data()`.
    :param sequential: measure in a second pass how sensitive the output is and what sites see behind pruned ones.
    :raises BadDatasetError: the data is empty, does not fit the model, or gives NaN.
    """
    backend = backend_of(model)
    opened = backend.open_model(model)
    backend.check_stock(opened)
    return backend.calibrate(opened, _dataset(dataset), sequential=sequential, progress=progress)


def fit(profile: CalibrationProfile, config: SparsityConfig | None = None) -> SparsityPlan:
    """Decide centre and threshold of every site; numpy only, the model is not needed.

    :raises UsageError: the configuration names sites that are not there, or asks for what the method cannot do.
    """
    from scap_ov.fitting.fit import fit as fit_plan

    return fit_plan(profile, config or SparsityConfig())


def evaluate(model: Any, reference: Any, text: Any, **options: Any) -> EvaluationResult:
    """Quality of a model against a reference on text; options as in scap_ov.evaluation.evaluate.evaluate."""
    from scap_ov.evaluation.evaluate import evaluate as run

    return run(model, reference, text, **options)


def benchmark(model: Any, reference: Any, **options: Any) -> BenchmarkResult:
    """Speed and memory of a model folder against another; options as in scap_ov.benchmarking.decode.benchmark."""
    from scap_ov.benchmarking.decode import benchmark as run

    return run(model, reference, **options)


def save_model(model: Any, path: str | Path) -> None:
    """Save a model with 64-byte aligned weights, and scap_config.json beside it.

    :param path: an .xml or .onnx file, or a folder that gets openvino_model.xml.
    :raises OutputError: it cannot be written; nothing half-written is left.
    """
    backend_of(model).save(model, path)


def apply_with_plan(
    model: Any, calibration: Any, config: SparsityConfig | None = None, *, form: str = "lowered", progress: Progress | None = None
) -> tuple[Any, SparsityPlan]:
    """As `apply`, and the plan that was applied with it. For the CLI."""
    from scap_ov.plan import SparsityPlan

    backend = backend_of(model)
    if form not in backend.FORMS:
        msg = f"form is {form!r}; give one of {', '.join(backend.FORMS)}"
        raise UsageError(msg)
    opened = backend.open_model(model)
    backend.check_stock(opened)
    if isinstance(calibration, SparsityPlan):
        if config is not None and config != calibration.config:
            msg = "a SparsityPlan brings its own configuration, so config must be left out; fit another plan to change it"
            raise UsageError(msg)
        plan = calibration
    else:
        plan = _plan(backend, opened, calibration, config or SparsityConfig(), progress)
    backend.check_plan(opened, plan)
    stock: dict[str, str] = {}
    if form == "lowered" and backend.LOWERS and plan.config.replace == "where_faster":
        from scap_ov.benchmarking.site_gain import sites_that_lose

        stock = sites_that_lose(plan, progress=progress)
    return backend.rewrite(opened, plan, form, stock), plan


def _plan(backend: Any, model: Any, calibration: Any, config: SparsityConfig, progress: Progress | None) -> SparsityPlan:
    from scap_ov.profile import CalibrationProfile

    if isinstance(calibration, CalibrationProfile):
        return fit(calibration, config)
    dataset = _dataset(calibration)
    profile = backend.calibrate(model, dataset, sequential=False, progress=progress)
    return backend.fit(model, profile, dataset, config, progress=progress)


def _dataset(dataset: Any) -> Any:
    if not hasattr(dataset, "get_inference_data"):
        msg = f"calibration is of type {type(dataset).__name__}; give an nncf.Dataset, a CalibrationProfile or a SparsityPlan"
        raise UsageError(msg)
    return dataset
