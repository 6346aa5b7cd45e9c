"""Write one self-contained HTML page about a pruned model: what is gained and lost, bytes, thresholds, and what stayed stock."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scap_ov.cli.data import data_path
from scap_ov.cli.files import OutputFile
from scap_ov.cli.options import add_json_option, positive
from scap_ov.cli.output import Output, plain
from scap_ov.cli.record import record_of
from scap_ov.errors import MismatchError, OutputError, UsageError, reason_of
from scap_ov.json_values import JsonMapping, JsonObject

if TYPE_CHECKING:
    from scap_ov.plan import SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile

EXAMPLES = (
    "scap-ov report sparse",
    "scap-ov report sparse --profile profile.safetensors --reference stock --data my_text.txt --measure -o report.html",
    "scap-ov report sparse --eval eval.json --bench bench.json --png pictures",
)
# A key that each file holds, and the command that writes it.
_FILES = {"eval": ("kl_divergence", "scap-ov eval"), "bench": ("decode_speedup", "scap-ov bench"), "compare": ("points", "scap-ov compare")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `report`."""
    parser.add_argument("model", help="folder of the pruned model, or its .xml or .onnx")
    parser.add_argument("-o", "--output", type=OutputFile, default=OutputFile("report.html"), metavar="FILE.html",
                        help="the page (default report.html)")  # fmt: skip
    parser.add_argument("--png", metavar="FOLDER", help="write each plot as a picture to this folder too")
    parser.add_argument("--title", metavar="TEXT", help="heading of the page (default: name of the folder)")
    parser.add_argument("--profile", metavar="FILE", help="the profile that the model was fitted from: histograms with thresholds")
    group = parser.add_argument_group("speed and loss", "measured now, or from files that commands wrote")
    group.add_argument("--measure", action="store_true", help="measure the speed against --reference, and the loss on --data")
    group.add_argument("--reference", metavar="FOLDER", help="the stock model")
    group.add_argument("--data", metavar="FILE", help='text file or .jsonl with a "text" key; not the calibration text')
    group.add_argument("--tokens", type=positive, metavar="N", help="tokens of --data to use, at most (default 16384)")
    group.add_argument("--eval", metavar="FILE", help="what `scap-ov eval --json` wrote")
    group.add_argument("--bench", metavar="FILE", help="what `scap-ov bench --json` wrote")
    group.add_argument("--compare", metavar="FILE", help="what `scap-ov compare --json` wrote: curves of loss over sparsity")
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Gather, measure what is asked for, and write the page."""
    from scap_ov.report.html import Findings, write_report
    from scap_ov.report.verdict import verdict

    _check(args)
    given = {name: _read(name, getattr(args, name)) for name in _FILES if getattr(args, name)}
    record = record_of(args.model)
    if record is None:
        msg = f"{args.model} is a stock model, so there is nothing to report; give a folder that `scap-ov apply` wrote"
        raise UsageError(msg)
    summary = record["summary"]
    profile = _profile(args.profile, summary)
    plan = _plan(args.model, summary) if profile is not None else None
    evaluation, benchmark = given.get("eval"), given.get("bench")
    if args.measure:
        evaluation, benchmark = _measure(args, [each["level"] for each in summary.get("levels", ())], evaluation, benchmark, out)
    points = operating_points(evaluation or {}, benchmark or {}, given.get("compare") or {})
    title = args.title or Path(args.model).resolve().name
    findings = Findings(title, summary, record["config"], plan, profile, evaluation, benchmark, points)
    fresh = args.png is not None and not Path(args.png).exists()
    pictures = _folder(args.png, overwrite=args.overwrite)
    try:
        page = write_report(args.output, findings, pictures=pictures)
    except BaseException:
        if pictures is not None and fresh:
            shutil.rmtree(pictures, ignore_errors=True)
        raise
    out.say(verdict(summary, evaluation or {}, benchmark or {}))
    out.say(f"{page}{f', pictures in {pictures}' if pictures else ''}")
    out.figures({"report": str(page), "pictures": str(pictures) if pictures else None, "eval": evaluation, "bench": benchmark})


def operating_points(evaluation: JsonMapping, benchmark: JsonMapping, compare: JsonMapping) -> list[JsonObject]:
    """Points of the curves: levels of a model that has several, and rows of `scap-ov compare`.

    :param evaluation: figures of `scap-ov eval`; `levels` of a model with several operating points.
    :param benchmark: figures of `scap-ov bench`, likewise.
    :param compare: figures of `scap-ov compare`.
    """
    levels: dict[float, dict[str, Any]] = {}
    for figures in (benchmark, evaluation):
        for row in figures.get("levels", ()):
            levels.setdefault(row["level"], {"sparsity": row["level"]}).update(row)
    return [*({**row, "method": "levels"} for row in levels.values()), *compare.get("points", ())]


def _check(args: argparse.Namespace) -> None:
    if args.measure and not args.reference:
        msg = "--measure compares with the stock model; give it as --reference"
        raise UsageError(msg)
    if (args.reference or args.data) and not args.measure:
        msg = "--reference and --data are for measuring; add --measure, or leave them out"
        raise UsageError(msg)


def _read(name: str, path: str) -> JsonObject:
    key, command = _FILES[name]
    try:
        figures = json.loads(Path(path).read_text(encoding="utf-8"))
        found = isinstance(figures, dict) and key in figures
    except (OSError, ValueError, RecursionError) as e:
        msg = f"--{name} {path} cannot be read ({reason_of(e)}); give a file that `{command} --json FILE` wrote"
        raise UsageError(msg) from e
    if not found:
        msg = f"--{name} {path} has no {key}; give a file that `{command} --json FILE` wrote"
        raise UsageError(msg)
    return dict(figures)


def _folder(path: str | None, *, overwrite: bool) -> Path | None:
    if path is None:
        return None
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        full = any(folder.iterdir())
    except OSError as e:
        msg = f"--png {path} is no folder that can be made or read ({e.strerror}); give another"
        raise OutputError(msg) from e
    if full and not overwrite:
        msg = f"--png {path} holds files; give a new or empty folder, or --overwrite to replace the pictures in it"
        raise OutputError(msg)
    return folder


def _profile(path: str | None, summary: JsonMapping) -> CalibrationProfile | None:
    if path is None:
        return None
    from scap_ov.statistics.profile import CalibrationProfile

    profile = CalibrationProfile.load(path)
    known = {site["name"] for site in summary["sites"]}
    if not known & set(profile.statistics):
        msg = f"the profile {path} has none of the sites of this model; give the profile that it was fitted from"
        raise MismatchError(msg)
    return profile


def _plan(model: str, summary: JsonMapping) -> SparsityPlan | None:
    """The thresholds that are in the model; None of an ONNX file, whose histograms have none."""
    from scap_ov.storage.model_files import model_file

    file = model_file(model)
    if file.suffix.lower() != ".xml":
        return None
    from scap_ov.evaluation.extract_plan import plan_in
    from scap_ov.storage.model_folder import read_model

    return plan_in(read_model(file), summary)


def _measure(
    args: argparse.Namespace, levels: Sequence[float], evaluation: JsonObject | None, benchmark: JsonObject | None, out: Output
) -> tuple[JsonObject | None, JsonObject | None]:
    """What is not there yet; of a model with levels each, and the figures of the last beside the list, as `eval` and `bench` write them."""
    from scap_ov import api

    if args.data and evaluation is None:
        text = data_path(args.data)
        rows: list[JsonObject] = []
        each: list[float | None] = [*levels] or [None]
        for level in each:
            with out.progress("evaluating (windows)" if level is None else f"evaluating level {level:g} (windows)") as bar:
                found = plain(api.evaluate(args.model, args.reference, text, max_tokens=args.tokens, level=level, progress=bar))
            rows.append({"level": level, **found})
        evaluation = {**rows[-1], "levels": rows if levels else []}
    if benchmark is None:
        with out.progress("measuring speed") as bar:
            benchmark = plain(api.benchmark(args.model, args.reference, levels=list(levels), progress=bar))
    return evaluation, benchmark
