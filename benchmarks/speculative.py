"""Several tokens verified in one step: prompt lookup and speculative decoding through openvino-genai, stock and pruned in turn.

    python benchmarks/speculative.py stock sparse --ahead 3,6 --json speculative.json
    python benchmarks/speculative.py stock sparse --draft small-stock --our-draft small-sparse
    scap-ov apply stock levels --levels 0,0.25,0.4,0.5
    python benchmarks/speculative.py stock levels --levels 0.25,0.5

One request at a time, greedy, all with INFERENCE_PRECISION_HINT=f32. Texts of a pruned and a stock model differ, and with them how much of
a draft is accepted; so tokens a step and milliseconds a step stand beside tokens per second. With --levels the folder verifies at
level 0, the dense model in our op, and its drafts are the same folder at other levels, from one copy of the weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import openvino_genai as genai
from machine import machine

import scap_ov
from scap_ov import dial
from scap_ov.benchmarking.paired import alternate

PROMPTS = ("What is the capital of France? Tell me about its history.", "How does a bicycle work?", "Write a story about a fox and a crow.")


@dataclass(frozen=True)
class Request:
    """One request: its speed with the prompt, and its steps without it."""

    tokens_per_s: float
    tokens_per_step: float
    step_ms: float


Way = Callable[[int], Request]


def run(pipeline: Any, tokens: int, ahead: int, turn: int) -> Request:
    """One of the prompts; nothing is ahead where `ahead` is 0."""
    options = {"num_assistant_tokens": ahead, "max_ngram_size": 2} if ahead else {}
    config = genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True, do_sample=False, **options)
    start = time.perf_counter()
    result = pipeline.generate([f"{turn + 2}. {PROMPTS[turn % len(PROMPTS)]}"], config)
    seconds = time.perf_counter() - start
    ends = result.perf_metrics.raw_metrics.m_new_token_times  # ms, of each step; of prompt lookup genai's own durations are 0
    return Request(tokens / seconds, (tokens - 1) / (len(ends) - 1), median(np.diff(ends)))


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stock")
    parser.add_argument("sparse")
    parser.add_argument("--draft", help="a folder that drafts for stock, with the same tokenizer")
    parser.add_argument("--our-draft", help="a folder that drafts for ours, by default that of stock")
    parser.add_argument("--levels", help="of a folder with levels: comma list of those that draft for its level 0")
    parser.add_argument("--ahead", default="3,6", help="comma list: most tokens that are drafted before they are verified")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--json")
    args = parser.parse_args()
    level = {"level": 0} if args.levels else {}
    stock = partial(scap_ov.open_pipeline, args.stock, INFERENCE_PRECISION_HINT="f32")
    ours = partial(scap_ov.open_pipeline, args.sparse, **level)
    opened = {"stock": (stock(), stock(prompt_lookup=True)), "scap_ov": (ours(), ours(prompt_lookup=True))}
    drafts = {"stock": args.draft, "scap_ov": args.our_draft or args.draft}
    with_draft = {name: open_(draft=drafts[name]) for name, open_ in (("stock", stock), ("scap_ov", ours)) if drafts[name]}
    ahead = [int(number) for number in args.ahead.split(",")]
    ways: dict[str, dict[str, Way]] = {}
    for side, (plain, lookup) in opened.items():
        own = {"one token a step": partial(run, plain, args.tokens, 0)}
        own |= {f"prompt lookup, {number} ahead": partial(run, lookup, args.tokens, number) for number in ahead}
        if side in with_draft:
            own |= {f"draft, {number} ahead": partial(run, with_draft[side], args.tokens, number) for number in ahead}
        ways[side] = own
    if args.levels:
        ways["scap_ov"] |= _by_levels(args, ahead)
    flat = {f"{side}: {name}": way for side, own in ways.items() for name, way in own.items()}
    _report(alternate(flat, args.repeats), ways, args)


def _by_levels(args: argparse.Namespace, ahead: list[int]) -> dict[str, Way]:
    """Drafts of the folder itself at other levels."""
    levels = [float(level) for level in args.levels.split(",")]
    both = scap_ov.open_pipeline(args.sparse, level=0, draft_level=levels[0])
    (draft,) = [name for name in dial.models_with_levels() if name.endswith(".draft")]

    def drafted(level: float, number: int, turn: int) -> Request:
        scap_ov.set_level(level, draft)
        return run(both, args.tokens, number, turn)

    return {f"draft at {level:g}, {number} ahead": partial(drafted, level, number) for level in levels for number in ahead}


def _medians(requests: list[Request]) -> Request:
    return Request(*(median(values) for values in zip(*(asdict(request).values() for request in requests), strict=True)))


def _report(runs: dict[str, list[Request]], ways: dict[str, dict[str, Way]], args: argparse.Namespace) -> None:
    """Print the table, write JSON: ratios are to the same way of stock, or where it has none to its single tokens."""
    rows = []
    print("| way | tokens/s: stock | scap_ov | ratio | tokens a step | | ms a step | | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name in ways["scap_ov"]:
        against = f"stock: {name if name in ways['stock'] else 'one token a step'}"
        theirs, ours = runs[against], runs[f"scap_ov: {name}"]
        pairs = list(zip(theirs, ours, strict=True))
        speed = median(mine.tokens_per_s / stock.tokens_per_s for stock, mine in pairs)
        step = median(stock.step_ms / mine.step_ms for stock, mine in pairs)
        stock, mine = _medians(theirs), _medians(ours)
        rows.append({"way": name, "against": against, "stock": asdict(stock), "scap_ov": asdict(mine), "ratio": speed, "step_ratio": step})
        print(f"| {name} | {stock.tokens_per_s:.1f} | {mine.tokens_per_s:.1f} | {speed:.2f} | {stock.tokens_per_step:.2f} | "
              f"{mine.tokens_per_step:.2f} | {stock.step_ms:.1f} | {mine.step_ms:.1f} | {step:.2f} |")  # fmt: skip
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
