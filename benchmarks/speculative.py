"""Speculative decoding with a draft from the same weights, and prompt lookup: speed against the dense model, and how much is accepted.

    scap-ov apply stock levels --levels 0,0.25,0.4,0.5
    python benchmarks/speculative.py stock levels --drafts 0.25,0.5 --ahead 3 --json speculative.json

All ways take the same prompts in turn, one request at a time, greedy, with INFERENCE_PRECISION_HINT=f32. `levels` verifies at level 0, the
dense model in our op; its draft is the same folder at another level, so there is one copy of the weights on disk and in the page cache.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import openvino_genai as genai
from machine import machine

import scap_ov
from scap_ov import dial
from scap_ov.benchmarking.paired import alternate

PROMPTS = ("What is the capital of France? Tell me about its history.", "How does a bicycle work?", "Write a story about a fox and a crow.")


def run(pipeline: Any, tokens: int, ahead: int, turn: int) -> tuple[float, float]:
    """Tokens per second of one request, and the share of drafted tokens that were accepted (nan where genai does not tell)."""
    options = {"num_assistant_tokens": ahead, "max_ngram_size": 2} if ahead else {}
    config = genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True, do_sample=False, **options)
    start = time.perf_counter()
    result = pipeline.generate([f"{turn + 2}. {PROMPTS[turn % len(PROMPTS)]}"], config)
    speed = tokens / (time.perf_counter() - start)
    metrics = getattr(result, "extended_perf_metrics", None)
    return speed, float(metrics.get_draft_acceptance_rate()) if metrics is not None else math.nan


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stock")
    parser.add_argument("levels", help="a folder with levels, 0 among them; with --lookup-only any pruned folder")
    parser.add_argument("--lookup-only", action="store_true", help="prompt lookup alone, of stock and of the folder as it is")
    parser.add_argument("--drafts", default="0.25,0.5", help="levels of the draft")
    parser.add_argument("--ahead", type=int, default=3, help="tokens that are drafted before they are verified")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--json")
    args = parser.parse_args()
    stock = partial(scap_ov.open_pipeline, args.stock, INFERENCE_PRECISION_HINT="f32")
    level, name = (None, "pruned") if args.lookup_only else (0, "level 0")
    ours = partial(scap_ov.open_pipeline, args.levels, level=level)
    ways: dict[str, Callable[[int], tuple[float, float]]] = {
        "stock": partial(run, stock(), args.tokens, 0),
        "stock, prompt lookup": partial(run, stock(prompt_lookup=True), args.tokens, args.ahead),
        name: partial(run, ours(), args.tokens, 0),
        f"{name}, prompt lookup": partial(run, ours(prompt_lookup=True), args.tokens, args.ahead),
    }
    if not args.lookup_only:
        ways |= _drafts(args)
    _report(alternate(ways, args.repeats), args)


def _drafts(args: argparse.Namespace) -> dict[str, Callable[[int], tuple[float, float]]]:
    both = scap_ov.open_pipeline(args.levels, level=0, draft_level=float(args.drafts.split(",")[0]))
    (draft,) = [name for name in dial.models_with_levels() if name.endswith(".draft")]

    def drafted(level: float, turn: int) -> tuple[float, float]:
        scap_ov.set_level(level, draft)
        return run(both, args.tokens, args.ahead, turn)

    return {f"level 0, draft at {level:g}": partial(drafted, level) for level in map(float, args.drafts.split(","))}


def _report(runs: dict[str, list[tuple[float, float]]], args: argparse.Namespace) -> None:
    """Print the table, write JSON."""
    rows = [{"way": name, "tokens_per_s": median(speed for speed, _ in own), "accepted": median(share for _, share in own),
             "ratio": median(mine / theirs for (mine, _), (theirs, _) in zip(own, runs["stock"], strict=True))}
            for name, own in runs.items()]  # fmt: skip
    print("| way | tokens/s | against stock | accepted |\n|---|--:|--:|--:|")
    for row in rows:
        accepted = "" if math.isnan(row["accepted"]) else f"{row['accepted']:.0%}"
        print(f"| {row['way']} | {row['tokens_per_s']:.1f} | {row['ratio']:.2f}× | {accepted} |")
    if args.json:
        told = [{key: value for key, value in row.items() if not (key == "accepted" and math.isnan(value))} for row in rows]
        figures = {"machine": machine(), "ahead": args.ahead, "rows": told}
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
