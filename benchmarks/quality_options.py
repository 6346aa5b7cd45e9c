"""Options of quality.py."""

from __future__ import annotations

import argparse
from pathlib import Path

from quality_rivals import RIVALS


def options(about: str) -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--text", help="text file; its halves are for calibration and for measuring")
    parser.add_argument("--title", default="Python's documentation", help="what the text is, for the page")
    parser.add_argument(
        "--source", default="made from the GGUF file as openvino-genai reads it", help="where the folders are from, for the page"
    )
    parser.add_argument("--work", type=Path, default=Path("quality_models"))
    parser.add_argument("--name", default="SmolLM2-135M-Instruct", help="what the model is, for the page")
    parser.add_argument("--page", default="quality", help="name of the page and its plot, without .md")
    parser.add_argument("--json", default="quality.json")
    parser.add_argument("--output", type=Path, help="folder for quality.md and quality.png")
    parser.add_argument("--forms", type=lambda t: t.split(","), default=["i8", "i4"], help="of i8, i4, f16")
    parser.add_argument("--methods", type=lambda t: t.split(","), default=["adaptive", "scap"])
    parser.add_argument("--sparsities", type=_shares, default=[0.5, 0.4, 0.25])
    parser.add_argument("--quantised-sparsities", type=_shares, default=[0.5, 0.65], help="of --methods, on int8")
    parser.add_argument("--int4-sparsities", type=_shares, default=[], help="of --methods, on int4")
    parser.add_argument(
        "--graded", type=_shares, default=[0.5, 0.65, 0.35, 0.2], help="shares of the bytes of int8 that graded reads leave out"
    )
    parser.add_argument("--lm-head", type=_shares, default=[0.5], help="shares of all bytes at which int8 is graded, output projection too")
    parser.add_argument("--deployed", type=_shares, default=[0.5], help="shares at which int8 is measured as it is deployed")
    parser.add_argument(
        "--rivals", type=lambda t: [n for n in t.split(";") if n], default=list(RIVALS), help="of quality_rivals.py, joined by ;"
    )
    parser.add_argument("--compensate", type=_shares, default=[], help="shares at which compensation is learned for graded int8")
    parser.add_argument("--steps", type=int, help="of learning compensation; else one pass over its text")
    parser.add_argument("--tokens", type=int, default=1024, help="to measure on")
    parser.add_argument("--calibration-tokens", type=int, default=8192)
    parser.add_argument("--all-methods", action=argparse.BooleanOptionalAction, default=False, help="the FFN-only comparison with CATS too")
    parser.add_argument("--self", action=argparse.BooleanOptionalAction, default=False, help="calibrate on text that the model writes, too")
    parser.add_argument("--held", type=_shares, default=[0.3, 0.4, 0.5, 0.6], help="shares asked for, to be measured on several texts")
    parser.add_argument("--sequential", action=argparse.BooleanOptionalAction, default=False, help="calibrate --sequential, too")
    parser.add_argument("--tasks", type=lambda t: [Path(f) for f in t.split(",") if f], default=[], metavar="FILE,FILE",
                        help="multiple choice: .jsonl files with query, choices and gold")  # fmt: skip
    parser.add_argument("--questions", type=int, default=250, help="most of each file")
    parser.add_argument("--only-speed", action="store_true", help="measure the speed of what is there already")
    parser.add_argument("--minilm", action=argparse.BooleanOptionalAction, default=False, help="sentence embeddings of MiniLM, too")
    return parser


def _shares(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]
