"""Evaluate several methods and sparsities on one model, fitted from one profile, with a table and a plot over sparsity and bytes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scap_ov.cli.data import calibration_dataset, data_path
from scap_ov.cli.files import OutputFile
from scap_ov.cli.options import add_data_options, add_json_option, positive
from scap_ov.cli.output import Output, plain
from scap_ov.config import METHODS, SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.json_values import JsonObject

if TYPE_CHECKING:
    from scap_ov.models.kinds import AnyOpened
    from scap_ov.statistics.profile import CalibrationProfile

EXAMPLES = (
    "scap-ov compare stock --profile profile.safetensors --eval-data my_text.txt --html compare.html",
    "scap-ov compare stock --methods graded,teal --sparsities 0.4,0.5 --eval-data my_text.txt --json compare.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `compare`."""
    parser.add_argument("model", help="folder of the stock model")
    parser.add_argument(
        "--methods", default="graded,adaptive,scap", metavar="A,B", help=f"of {', '.join(METHODS)} (default graded,adaptive,scap)"
    )
    parser.add_argument("--sparsities", default="0.25,0.4,0.5", metavar="S,T", help="target sparsities (default 0.25,0.4,0.5)")
    parser.add_argument("--scope", default="all", metavar="all|ffn", help="targets of block layers, or of the ffn only (cats needs it)")
    parser.add_argument("--eval-data", required=True, metavar="FILE", help="text to evaluate on; not the text of --data")
    parser.add_argument("--eval-tokens", type=positive, default=8192, metavar="N", help="tokens to evaluate on, at most (default 8192)")
    parser.add_argument("--profile", metavar="FILE", help="a profile; replaces --data")
    parser.add_argument("--reference", metavar="FOLDER", help="model to compare with (default: the stock model)")
    parser.add_argument(
        "--dense", action="append", default=[], metavar="FOLDER", help="another dense model to show in the table; may be repeated"
    )
    parser.add_argument("--html", type=OutputFile, metavar="FILE", help="write the plots to this page")
    add_data_options(parser, default="self", tokens=16_384)
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Fit, rewrite and evaluate every combination."""
    from scap_ov import api
    from scap_ov.backends import backend_of
    from scap_ov.models.tokenizer import load_tokenizer
    from scap_ov.storage.model_files import model_file

    configs = [
        SparsityConfig(target_sparsity=s, method=m, scope=args.scope) for m in args.methods.split(",") for s in _shares(args.sparsities)
    ]
    text = data_path(args.eval_data)
    reference = args.reference or args.model
    for folder in (reference, *args.dense):
        model_file(folder)
    encode = load_tokenizer(model_file(args.model).parent)
    backend = backend_of(args.model)
    model = backend.open_model(args.model)
    backend.check_stock(model)
    profile = _profile(args, model, out)
    plans = [api.fit(profile, config) for config in configs]  # what a method cannot do is refused before the long work
    points: list[dict[str, Any]] = []
    with out.progress("comparing") as bar:
        for done, (config, plan) in enumerate(zip(configs, plans, strict=True)):
            bar(done, len(configs) + len(args.dense), f"{config.method} {config.target_sparsity}")
            sparse = api.apply(model, plan, form="portable")
            result = api.evaluate(sparse, reference, text, tokenizer=encode, max_tokens=args.eval_tokens)
            points.append({"method": config.method, "target_sparsity": config.target_sparsity, **plain(result)})
        for done, folder in enumerate(args.dense):
            bar(len(configs) + done, len(configs) + len(args.dense), str(folder))
            result = api.evaluate(folder, reference, text, tokenizer=encode, max_tokens=args.eval_tokens)
            points.append({"method": f"dense {Path(folder).name}", "target_sparsity": 0.0, **plain(result)})
    rows = [(p["method"], p["target_sparsity"], f"{p['sparsity']:.1%}", _reads(p), f"{p['kl_divergence']:.4f}", f"{p['perplexity']:.2f}",
             f"{p['top1_agreement']:.1%}", f"{p['weight_bytes_per_token'] / 1e6:.1f}") for p in points]  # fmt: skip
    out.table(
        "Compare at equal measured shares of bytes, or at equal bytes",
        ("method", "target", "bytes not read", "dropped/half/whole", "KL", "perplexity", "same token", "MB/token"),
        rows,
    )
    if args.html:
        _page(args.html, points)
    for point in points:
        point.pop("sites")
    out.figures({"points": points})


def _profile(args: argparse.Namespace, model: AnyOpened, out: Output) -> CalibrationProfile:
    from scap_ov import api
    from scap_ov.statistics.profile import CalibrationProfile

    if args.profile:
        return CalibrationProfile.load(args.profile)
    dataset = calibration_dataset(args, model.model, out)
    with out.progress("observing (samples)") as bar:
        return api.calibrate(model, dataset, progress=bar)


def _reads(point: JsonObject) -> str:
    """Shares of the channels that were dropped, read by half and read whole, in per cent."""
    return "/".join(f"{100 * point[key]:.0f}" for key in ("dropped", "half", "whole"))


def _page(path: str, points: list[JsonObject]) -> None:
    from scap_ov.report.html import figures_of, write_page
    from scap_ov.report.plots import pareto

    shown = [pareto(points, "sparsity", "the share of bytes not read"), pareto(points, "weight_bytes_per_token", "weight bytes per token")]
    write_page(path, "scap_ov compare", f"<h1>Methods and sparsities compared</h1>{figures_of(shown)}")


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as e:
        msg = f"--sparsities is '{text}'; give shares such as 0.25,0.4,0.5"
        raise UsageError(msg) from e
