"""Prune a model: calibrate unless a profile or plan is given, fit, rewrite, and write a complete model folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scap_ov.cli.data import calibration_dataset
from scap_ov.cli.files import OutputFile
from scap_ov.cli.levels import told_share
from scap_ov.cli.options import add_config_options, add_data_options, add_json_option, read_config
from scap_ov.cli.output import Output
from scap_ov.cli.routed import tokens_per_expert
from scap_ov.errors import UsageError
from scap_ov.storage.companions import told
from scap_ov.storage.destination import destination
from scap_ov.storage.model_files import model_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scap_ov.backends import AnyBackend
    from scap_ov.config import SparsityConfig
    from scap_ov.models.kinds import AnyOpened
    from scap_ov.models.runner import InferenceData
    from scap_ov.plan import SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile
    from scap_ov.storage.destination import Destination

_GROWN, _NOTABLE = 1.2, 100_000  # times, and bytes: rows are padded to whole cache lines, and sites have numbers of their own

EXAMPLES = (
    "scap-ov apply stock sparse --profile profile.safetensors --target-sparsity 0.5",
    "scap-ov apply stock sparse --max-loss 1% --data my_text.txt",
    "scap-ov apply stock/openvino_language_model.xml sparse --plan plan.safetensors --overwrite",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `apply`."""
    parser.add_argument("model", help="folder of the stock model, or its .xml or .onnx")
    parser.add_argument(
        "folder", nargs="?", metavar="output", help="the new model folder, or an .onnx or .xml file; may also be given as --output"
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", help="the new model folder, in place of the second argument")
    parser.add_argument("--profile", metavar="FILE", help="a profile that `scap-ov calibrate` wrote; replaces --data")
    parser.add_argument("--plan", metavar="FILE", help="a plan that --save-plan wrote; replaces --data and all options of pruning")
    parser.add_argument("--save-plan", type=OutputFile, metavar="FILE", help="write the plan that was fitted to this file")
    form = "lowered: custom op, CPU, fast (default); portable: standard ops, any device; function: ONNX only, one function node per site"
    parser.add_argument("--form", default="lowered", metavar="FORM", help=form)
    parser.add_argument(
        "--max-loss", metavar="LOSS",
        help="instead of --target-sparsity: the largest sparsity that loses at most 1%% of perplexity, or kl=0.02 nats, on held-out text",
    )  # fmt: skip
    parser.add_argument(
        "--no-cache", action="store_true", help="measure again which layers the op makes faster on this machine, and keep the new figures"
    )
    add_config_options(parser)
    add_data_options(parser, default="self", tokens=16_384)
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Prune and write; everything that can be refused is refused before the long work."""
    from scap_ov.backends import backend_of

    if (args.folder is None) == (args.output is None):
        msg = "give the output folder once: `scap-ov apply MODEL OUTPUT`, or --output OUTPUT"
        raise UsageError(msg)
    if args.profile and args.plan:
        msg = "give --profile or --plan, not both"
        raise UsageError(msg)
    config = read_config(args)
    _check_max_loss(args)
    output = Path(args.folder or args.output)
    if args.plan and any(key.startswith("config_") for key in vars(args)):
        msg = "a plan brings its own configuration; leave the options of pruning out, or give --profile to fit another plan"
        raise UsageError(msg)
    source = model_file(args.model)
    backend = backend_of(args.model)
    if args.form not in backend.FORMS:
        msg = f"form is '{args.form}'; give one of {', '.join(backend.FORMS)}"
        raise UsageError(msg)
    place = destination(args.model, output, backend.own_files(source), overwrite=args.overwrite)
    model = backend.open_model(args.model)
    backend.check_stock(model)
    backend.find(model, config)
    beside = args.profile and (args.max_loss or config.compensation)
    if beside and args.data == "self":
        args.seed += 1  # other text than a profile from `self` was calibrated on
    data = calibration_dataset(args, model.model, out) if beside else None
    calibration = _calibration(args, model, config, out)
    from scap_ov import api
    from scap_ov.benchmarking.measured import Measurements

    measured = Measurements(again=args.no_cache)
    with out.progress("pruning") as bar:
        sparse, plan = api.apply_with_plan(
            model, calibration, None if args.plan else config, form=args.form, data=data, max_loss=args.max_loss, measured=measured,
            progress=bar,
        )  # fmt: skip
    if measured.reused:
        out.say(f"  which layers gain was measured on this machine before ({measured.file}); --no-cache measures it again")
    for line in told(place.beside) if place.beside else ():
        out.say(f"  {line}")
    _write(backend, sparse, place, source, out)
    if args.save_plan:
        plan.save(args.save_plan)
    _tell(backend, sparse, plan, output, out)


def _write(backend: AnyBackend, sparse: object, place: Destination, source: Path, out: Output) -> None:
    """Write the model, and say so where its weights take more than those of the stock one."""
    before = _weights(backend.own_files(source))
    with out.progress("writing the model"):
        backend.write(sparse, place)
    after = _weights(backend.own_files(place.file))
    if after > _GROWN * before and after - before > _NOTABLE:
        out.say(
            f"  its weights take {after / 1e6:.1f} MB, those of the stock model {before / 1e6:.1f} MB: what layers share, or the "
            "output projection and the embedding, is packed for each site"
        )


def _weights(files: Sequence[Path]) -> int:
    """Bytes of a model's files, without the description of the graph."""
    return sum(path.stat().st_size for path in files if path.suffix != ".xml" and path.is_file())


def _check_max_loss(args: argparse.Namespace) -> None:
    if not args.max_loss:
        return
    from scap_ov.tuning.max_loss import LossLimit

    LossLimit.parse(args.max_loss)
    if args.plan or hasattr(args, "config_target_sparsity"):
        msg = "--max-loss finds the sparsity itself; leave --target-sparsity and --plan out"
        raise UsageError(msg)


def _calibration(
    args: argparse.Namespace, model: AnyOpened, config: SparsityConfig, out: Output
) -> InferenceData | CalibrationProfile | SparsityPlan | None:
    if config.drops_nothing and not (args.profile or args.plan or args.max_loss):
        if args.data != "self":
            out.say(f"target sparsity 0 drops nothing, so {args.data} is not read")
        return None
    if args.plan:
        from scap_ov.plan import SparsityPlan

        return SparsityPlan.load(args.plan)
    if args.profile:
        from scap_ov.statistics.profile import CalibrationProfile

        return CalibrationProfile.load(args.profile)
    return calibration_dataset(args, model.model, out)


def _tell(backend: AnyBackend, model: object, plan: SparsityPlan, output: Path, out: Output) -> None:
    summary = backend.record(model)["summary"]
    states: dict[str, int] = {}
    for site in summary["sites"]:
        states[site["state"]] = states.get(site["state"], 0) + 1
    counts = ", ".join(f"{count} sites {state}" for state, count in sorted(states.items()))
    out.say(f"{output}: {counts}; {told_share(summary)}")
    for reason in sorted({site["reason"] for site in summary["sites"] if site["state"] == "stock" and site["reason"]})[:3]:
        out.say(f"  left stock: {reason}")
    if summary["form"] == "lowered" and plan.config.rows == "decode":
        lowered = {plan.rows_of(site["name"]) for site in summary["sites"] if site["state"] == "lowered"}
        rows = sorted(lowered or {plan.config.max_sparse_rows})
        most = f"{rows[0]} tokens" if len(rows) == 1 else f"{rows[0]} to {rows[-1]} tokens (by site)"
        out.say(f"  steps of more than {most} run dense; tools that score whole sequences (lm-eval) need "
                "SCAP_OV_ROWS=all in their environment")  # fmt: skip
    if "pruned_only" in plan.notes:
        out.say(f"  pruned, not read by half: {plan.notes['pruned_only']}")
    for line in tokens_per_expert(summary, warnings_only=True):
        out.say(line)
    told: dict[str, Any] = {key: plan.notes[key] for key in ("max_loss", "compensation") if key in plan.notes}
    if "max_loss" in told:
        out.say("  " + held_limit(told["max_loss"]))
    if "compensation" in told:
        found = told["compensation"]
        out.say(f"  compensation {'kept' if found['kept'] else 'dropped'}: KL on held-out samples {found['held_out_loss_before']:.4f} "
                f"without it, {found['held_out_loss_after']:.4f} with it")  # fmt: skip
    figures: dict[str, Any] = {"output": str(output), **told, "form": summary["form"], "expected_sparsity": summary["expected_sparsity"]}
    out.figures({**figures, **states, "sites": summary["sites"]})


def held_limit(found: Mapping[str, Any]) -> str:
    """What a plan loses on held-out text, in a sentence.

    :param found: `max_loss` of the plan's notes.
    """
    measure, _, most = found["limit"].partition(" ")
    loss, low, high, limit = (float(value) for value in (found["loss"], *found["interval_95"], most))
    text = f"on {found['tokens']:,} held-out tokens"
    if measure == "perplexity":
        way = "rises" if loss >= 0 else "falls"
        return f"perplexity {way} by {abs(loss):.2%} {text} (95 % interval of the rise {low:.2%} to {high:.2%}); the limit is {limit:.2%}"
    return f"the divergence is {loss:.4f} nats {text} (95 % interval {low:.4f} to {high:.4f}); the limit is {limit:g}"
