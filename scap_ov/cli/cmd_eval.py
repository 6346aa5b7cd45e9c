"""Measure the quality of a model against the stock model on text: perplexity, divergence, agreement, measured sparsity, bytes."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scap_ov.cli.data import data_path
from scap_ov.cli.levels import add_levels_option, chosen_levels, tell_losses
from scap_ov.cli.options import add_json_option, positive
from scap_ov.cli.output import Output, plain
from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.evaluation.result import EvaluationResult
from scap_ov.json_values import JsonObject
from scap_ov.models.text import is_blank

DRIFT = 0.04  # of model-wide sparsity on other text; more is told

EXAMPLES = (
    "scap-ov eval sparse --reference stock --data my_text.txt",
    "scap-ov eval sparse --reference stock --data my_text.txt --levels all",
    "scap-ov eval sparse --reference stock --tasks questions.jsonl --json eval.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `eval`."""
    parser.add_argument("model", help="folder or .xml of the model")
    parser.add_argument("--reference", required=True, help="folder or .xml of the stock model")
    parser.add_argument("--data", metavar="FILE", help='text file or .jsonl with a "text" key; not the calibration text')
    parser.add_argument(
        "--rows", default="all", metavar="all|decode", help="all: whole windows, every row pruned; decode: token by token, as deployed"
    )
    parser.add_argument("--tokens", type=positive, metavar="N", help="tokens to evaluate on, at most (default 16384, decode 2048)")
    parser.add_argument("--window", type=positive, default=512, metavar="N", help="tokens per window (default 512)")
    parser.add_argument("--tasks", action="append", default=[], metavar="FILE.jsonl",
                        help="questions with `query`, `choices`, `gold`, or `context`, `continuation`; may be repeated")  # fmt: skip
    parser.add_argument("--limit", type=positive, metavar="N", help="questions per file, at most")
    parser.add_argument(
        "--similarity", type=positive, metavar="PROMPTS", help="compare greedy continuations of this many windows of the text"
    )
    add_levels_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Evaluate, print a table, write the figures."""
    from scap_ov.storage.model_files import model_file

    model_file(args.model)
    model_file(args.reference)
    if not args.data and not args.tasks:
        msg = "give --data with a text, or --tasks with questions, or both"
        raise UsageError(msg)
    if args.similarity and not args.data:
        msg = "--similarity takes its prompts from --data; give a text"
        raise UsageError(msg)
    levels = chosen_levels(args)
    if levels and not args.data:
        msg = "--levels compares figures on --data; give a text, or choose one level for tasks with SCAP_OV_LEVEL in the environment"
        raise UsageError(msg)
    figures: dict[str, Any] = {}
    each: list[float | None] = [*levels] if levels or not args.data else [None]
    for level in each:
        result = _text(args, out, level)
        expected = _expected(args.model, level)
        one = {**plain(result), "expected_sparsity": expected}
        if level is not None:
            one |= {"levels": [*figures.get("levels", []), {"level": level, **one}]}  # beside the list: figures of the last level
            out.say(f"level {level:g}:")
        figures |= one
        _tell(result, expected, out)
    if levels:
        tell_losses(figures["levels"], out)
    if args.tasks:
        figures["tasks"] = _tasks(args, out)
    if args.similarity:
        figures["generation"] = _similarity(args, out)
    out.figures(figures)


def _text(args: argparse.Namespace, out: Output, level: float | None) -> EvaluationResult:
    from scap_ov import api

    path = data_path(args.data)
    if is_blank(path):
        msg = f"--data {path} is empty; give a text of some thousand words"
        raise BadDatasetError(msg)
    with out.progress("evaluating (windows)") as bar:
        return api.evaluate(args.model, args.reference, path, rows=args.rows, window=args.window, max_tokens=args.tokens, level=level,
                            progress=bar)  # fmt: skip


def _expected(model: str, level: float | None) -> float | None:
    """The sparsity that calibration predicted, of a model that scap_ov wrote; with levels at this one, None for that it runs with."""
    from scap_ov import dial
    from scap_ov.passes.openvino.level_blocks import levels_in
    from scap_ov.storage.model_folder import read_model
    from scap_ov.storage.rt_info import read_record

    opened = read_model(model)
    record, own = read_record(opened), levels_in(opened)
    if record is not None and own is not None:
        wanted = dial.level(own.model) if level is None else level
        return next((float(each["expected_sparsity"]) for each in record["summary"]["levels"] if each["level"] == wanted), None)
    return None if record is None else float(record["summary"]["expected_sparsity"])


def _tell(result: EvaluationResult, expected: float | None, out: Output) -> None:
    def error(value: float | None) -> str:
        return "" if value is None else f" ± {value:.2g}"

    rows = [
        ("perplexity", f"{result.perplexity:.3f}", f"{result.reference_perplexity:.3f}"),
        ("perplexity ratio", f"{result.perplexity_ratio:.4f}{error(result.perplexity_ratio_standard_error)}", ""),
        ("KL divergence from reference", f"{result.kl_divergence:.4f}{error(result.kl_standard_error)}", ""),
        ("same next token as reference", f"{result.top1_agreement:.1%}", ""),
        ("weight bytes not read, measured", f"{result.sparsity:.1%} ± {result.sparsity_std:.1%} over tokens", ""),
        ("channels dropped / half / whole", f"{result.dropped:.1%} / {result.half:.1%} / {result.whole:.1%}", ""),
        (
            "weight bytes per token",
            f"{result.weight_bytes_per_token / 1e6:.1f} MB",
            f"{result.reference_weight_bytes_per_token / 1e6:.1f} MB",
        ),
    ]
    if expected is not None:
        rows.insert(5, ("weight bytes not read, expected from calibration", f"{expected:.1%}", ""))
    out.table(f"{result.tokens} tokens in {result.windows} windows, rows {result.rows}", ("", "model", "reference"), rows)
    if expected is not None and abs(result.sparsity - expected) > DRIFT:
        out.say(f"the thresholds do not hold on this text: {result.sparsity:.1%} of the bytes are not read where calibration predicted "
                f"{expected:.1%}; calibrate on text like this")  # fmt: skip


def _tasks(args: argparse.Namespace, out: Output) -> JsonObject:
    from scap_ov.evaluation.at_level import at_level
    from scap_ov.evaluation.instrument import sparse_view
    from scap_ov.evaluation.tasks import run_task
    from scap_ov.models.jsonl import read_jsonl
    from scap_ov.models.tokenizer import load_tokenizer
    from scap_ov.models.window_runner import WindowRunner
    from scap_ov.storage.model_files import model_file
    from scap_ov.storage.model_folder import read_model

    questions = {path: read_jsonl(path)[: args.limit] for path in args.tasks}
    names = [Path(path).name for path in questions]
    shown = {path: name if names.count(name) == 1 else path for path, name in zip(questions, names, strict=True)}
    encode = load_tokenizer(model_file(args.model).parent)
    results: dict[str, Any] = {name: {} for name in shown.values()}
    for role in ("model", "reference"):
        runner = WindowRunner(sparse_view(at_level(read_model(getattr(args, role))), rows="all").model)
        for path, rows in questions.items():
            with out.progress(f"{shown[path]}, {role}") as bar:
                results[shown[path]][role] = asdict(run_task(runner, encode, rows, progress=bar))
    table = [(name, r["model"]["questions"], f"{r['model']['accuracy']:.1%} ± {r['model']['accuracy_standard_error']:.1%}",
              f"{r['reference']['accuracy']:.1%}") for name, r in results.items()]  # fmt: skip
    out.table("Tasks, accuracy", ("file", "questions", "model", "reference"), table)
    return results


def _similarity(args: argparse.Namespace, out: Output) -> JsonObject:
    from scap_ov.evaluation.similarity import compare_generation
    from scap_ov.models.tokenizer import load_tokenizer
    from scap_ov.models.window_runner import WindowRunner
    from scap_ov.models.windows import text_windows
    from scap_ov.storage.model_files import model_file
    from scap_ov.storage.model_folder import read_model

    encode = load_tokenizer(model_file(args.model).parent)
    prompts = text_windows(Path(args.data), encode, window=64, max_tokens=64 * args.similarity)
    runners = [WindowRunner(read_model(path)) for path in (args.model, args.reference)]
    result = compare_generation(runners[0], runners[1], [np.asarray(p) for p in prompts])
    out.table("Greedy continuations", ("", "share"), [("identical", f"{result.identical:.1%}"), ("similarity", f"{result.similarity:.1%}"),
              ("tokens until the first difference", f"{result.common_prefix:.1f} of {result.new_tokens}")])  # fmt: skip
    return asdict(result)
