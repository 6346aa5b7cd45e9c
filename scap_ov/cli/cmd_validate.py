"""Compare the outputs of two models, IR or ONNX, stock or sparse, on the same inputs; exit 1 where they are further apart than allowed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from scap_ov.cli.options import add_json_option, positive
from scap_ov.cli.output import Output
from scap_ov.errors import BadModelError, UsageError
from scap_ov.json_values import JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scap_ov.validation.runner import Runner
    from scap_ov.validation.samples import ValidationInput

TOLERANCE = 1e-2  # f32 in two runtimes, 30 blocks deep: 2e-3 in a logit; pruning a tenth of the channels: 0.2
_TOKENIZERS = ("openvino_tokenizer.xml", "tokenizer.json", "tokenizer_config.json")

EXAMPLES = (
    "scap-ov validate stock.onnx stock",
    "scap-ov validate stock sparse --data my_text.txt --tolerance 0.1",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `validate`."""
    parser.add_argument("a", help="the reference: model folder, .xml or .onnx")
    parser.add_argument("b", help="the model to compare with it")
    data = "text file or .jsonl (a tokenizer must lie beside A or B), or .npz with the inputs by name; random inputs by default"
    parser.add_argument("--data", metavar="FILE", help=data)
    parser.add_argument("--tokens", type=positive, default=512, metavar="N", help="tokens of the text to use, at most (default 512)")
    parser.add_argument("--window", type=positive, default=64, metavar="N", help="tokens of a sample (default 64)")
    parser.add_argument("--tolerance", default=TOLERANCE, type=float, metavar="T",
                        help=f"largest absolute difference that an output may have (default {TOLERANCE})")  # fmt: skip
    parser.add_argument("--outliers", default=0.0, type=float, metavar="SHARE",
                        help="share of rows that may be above it: between two sparse models, rounding lets an entry at its threshold "
                        "be kept in one and dropped in the other (default 0)")  # fmt: skip
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Run both, print a table, tell by the exit code."""
    from scap_ov.validation.samples import pieces

    if not args.tolerance >= 0 or not 0 <= args.outliers < 1:
        msg = f"--tolerance is {args.tolerance} and --outliers is {args.outliers}; give at least 0, and a share of at least 0 and below 1"
        raise UsageError(msg)
    a, b = _open(args.a), _open(args.b)
    differences: dict[str, Any] = {}
    runs = list(pieces(a, b, args.data, lambda: _tokenizer(args.a, args.b), tokens=args.tokens, window=args.window))
    with out.progress("comparing (runs)") as bar:
        for done, piece in enumerate(runs):
            _compare(a, b, piece, differences, args.tolerance)
            bar(done + 1, len(runs))
    results = [difference.result() for difference in differences.values()]
    if not results:
        msg = f"{args.a} and {args.b} have no output of the same name; export them alike"
        raise BadModelError(msg)
    off = [r["name"] for r in results if r["rows_above_tolerance"] > args.outliers * r["rows"]]
    _tell(args, a.kind, b.kind, results, off, out)
    out.figures({"a": args.a, "b": args.b, "a_kind": a.kind, "b_kind": b.kind, "runs": len(runs), "tolerance": args.tolerance,
                 "outliers": args.outliers, "passed": not off, "outputs": results})  # fmt: skip
    return 1 if off else 0


def _open(path: str) -> Runner:
    from scap_ov.validation.runner import open_runner

    return open_runner(path)


def _compare(a: Runner, b: Runner, piece: ValidationInput, differences: JsonObject, tolerance: float) -> None:
    from scap_ov.validation.compare import OutputDifference

    if piece.first:
        a.start()
        b.start()
    values = [model.run(piece.inputs) if piece.ids is None else model.tokens(piece.ids) for model in (a, b)]
    for name in values[0]:
        if name in values[1]:
            try:
                differences.setdefault(name, OutputDifference(name, tolerance)).add(values[0][name], values[1][name])
            except ValueError as e:
                msg = f"the models do not give the same thing: {e}; compare two forms of one network"
                raise BadModelError(msg) from e


def _tokenizer(*paths: str) -> Callable[[str], Sequence[int]]:
    """That of the first model that has one beside it."""
    from scap_ov.models.tokenizer import load_tokenizer
    from scap_ov.storage.model_files import model_file

    folders = [model_file(path).parent for path in paths]
    having = [folder for folder in folders if any((folder / name).is_file() for name in _TOKENIZERS)]
    return load_tokenizer((having or folders)[0])


def _tell(args: argparse.Namespace, a_kind: str, b_kind: str, results: list[JsonObject], off: list[str], out: Output) -> None:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    rows = [(r["name"], number(r["max_difference"]), number(r["mean_difference"]), f"{r['rows_above_tolerance']} of {r['rows']}",
             number(r["kl_divergence"]), "" if r["top1_agreement"] is None else f"{r['top1_agreement']:.2%}",
             "" if r["cosine_mean"] is None else f"{r['cosine_mean']:.6f} ({r['cosine_min']:.6f})") for r in results]  # fmt: skip
    header = ("output", "max. difference", "mean", "rows above", "KL", "same first", "cosine (least)")
    out.table(f"{args.a} ({a_kind}) and {args.b} ({b_kind})", header, rows)
    out.say(f"above the tolerance of {args.tolerance:g}: {', '.join(off)}" if off else f"within the tolerance of {args.tolerance:g}")
