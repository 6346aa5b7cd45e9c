"""Watch a small language model being loaded, calibrated, rewritten and run faster. Everything lands in one folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from scap_ov.cli.options import add_json_option, parse_target
from scap_ov.config import SparsityConfig
from scap_ov.errors import OutputError, UsageError
from scap_ov.sample_models.source import ROADS

if TYPE_CHECKING:
    import argparse

    from scap_ov.cli.demo_steps import Sparse
    from scap_ov.cli.output import Output

_HOMES = {"genai": "genai-int8", "optimum": "optimum"}  # int8 both; demos before 0.3 left int4 weights in `genai`

EXAMPLES = (
    "scap-ov demo",
    "scap-ov demo --export optimum --output my_demo",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `scap-ov demo`."""
    roads = "genai: openvino-genai reads the GGUF file, no torch (default); optimum: optimum-cli export openvino; both with int8 weights"
    parser.add_argument("--export", metavar="|".join(ROADS), default="genai", help=roads)
    folder = "folder of all files, which a second run reuses (default demo_output)"
    parser.add_argument("--output", metavar="FOLDER", default="demo_output", help=folder)
    share = "share of the weight bytes of the blocks not to read (default 0.5)"
    parser.add_argument("--target-sparsity", metavar="SHARE", default="0.5", help=share)
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """The demo, step by step; each step prints the command or call that does the same by hand.

    :raises UsageError: an option has no such value.
    :raises OutputError: the output folder cannot be made.
    """
    if args.export not in ROADS:
        msg = f"--export is '{args.export}'; give one of {', '.join(ROADS)}"
        raise UsageError(msg)
    target = SparsityConfig(target_sparsity=parse_target(args.target_sparsity)).target_sparsity
    if not isinstance(target, float) or target <= 0:
        msg = f"--target-sparsity is '{args.target_sparsity}'; the demo takes one share above 0 and below 1, such as 0.5"
        raise UsageError(msg)
    home = Path(args.output) / _HOMES[args.export]
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        msg = f"the folder {home} cannot be made ({e.strerror}); give another with --output"
        raise OutputError(msg) from e
    _walk(args.export, target, home, out)


def _walk(road: str, target: float, home: Path, out: Output) -> None:
    from scap_ov.cli import demo_steps as steps

    start = time.monotonic()
    out.say(f"[1/5] Get the stock model (road: {road})")
    stock = steps.int8_model(road, home, out)
    out.say("[2/5] Calibrate on text that the model writes itself")
    profile = steps.calibrate(stock, home, out)
    out.say(f"[3/5] Leave {target:.0%} of the weight bytes unread and ask both models the same, through openvino_genai.LLMPipeline")
    sparse = steps.apply_and_ask(stock, profile, home, target, out)
    out.say("[4/5] Measure quality and speed")
    figures = steps.measure(stock, sparse, home, out)
    out.say("[5/5] Report")
    page = steps.report(sparse, profile, figures, home)
    steps.table(figures, out)
    out.say(_verdict(target, sparse))
    out.say(f"Report with plots: {page}")
    out.say(f"All files: {home} ({time.monotonic() - start:.0f} s)")
    talk = {"stock": sparse.stock_answers, "sparse": sparse.answers}
    out.figures({"export": road, "target_sparsity": target, "kept_sparsity": sparse.share, "answers": talk, "report": str(page), **figures})


def _verdict(target: float, sparse: Sparse) -> str:
    said = f"the sparse model says: {sparse.answers[0].text.strip()}"
    if sparse.lost_at:
        return f"At {target:.0%} the answer about France is lost; {sparse.share:.0%} is the largest share that keeps it: {said}"
    return f"At {target:.0%} {said}"
