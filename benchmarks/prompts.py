"""Time to the first token, and per token behind it, over the length of the prompt: stock and pruned, alternating in one process.

python benchmarks/prompts.py stock sparse --prompts 8,16,32,64,128 --json prompts.json
python benchmarks/prompts.py stock sparse --prompts 2048 --ours INFERENCE_PRECISION_HINT=bf16,KV_CACHE_PRECISION=bf16

Random token ids, new ones in every turn: a prompt that was seen before would come from openvino-genai's cache. Ours runs with
INFERENCE_PRECISION_HINT=f32 as `open_pipeline` has it, or with the properties of --ours; stock with its default or with --hint.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine

from scap_ov.benchmarking.decode import generation, random_prompt
from scap_ov.benchmarking.paired import alternate, median_ratio
from scap_ov.models.genai import library_for, open_pipeline


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stock")
    parser.add_argument("sparse")
    parser.add_argument("--prompts", default="8,16,32,64,128", help="comma list of lengths in tokens")
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--hint", default="", help="INFERENCE_PRECISION_HINT of stock, such as f32")
    parser.add_argument("--ours", default="", help="comma list of KEY=VALUE: properties of openvino-genai for the sparse model")
    parser.add_argument("--json")
    args = parser.parse_args()
    hint = {"INFERENCE_PRECISION_HINT": args.hint} if args.hint else {}
    ours = dict(word.split("=", 1) for word in args.ours.split(",") if word)
    pipelines = {"stock": open_pipeline(args.stock, **hint), "sparse": open_pipeline(args.sparse, library=library_for(args.sparse), **ours)}
    rows: list[dict[str, Any]] = []
    print("| prompt, tokens | first token, ms: stock | scap_ov | ratio | later tokens, ms: stock | scap_ov | ratio |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for tokens in map(int, args.prompts.split(",")):
        runs = alternate({name: _asked(pipelines[name], tokens, args.new_tokens) for name in pipelines}, args.repeats, warmup=3)
        row: dict[str, Any] = {"tokens": tokens}
        for place, what in enumerate(("first", "later")):
            stock, sparse = ([run[place] for run in runs[name]] for name in ("stock", "sparse"))
            row |= {f"{what}_stock_ms": median(stock), f"{what}_sparse_ms": median(sparse), f"{what}_ratio": median_ratio(stock, sparse)}
        rows.append(row)
        cells = [
            f"{row[f'{what}_{of}']:.{digits}f}"
            for what in ("first", "later")
            for of, digits in (("stock_ms", 1), ("sparse_ms", 1), ("ratio", 2))
        ]
        print(f"| {tokens} | {' | '.join(cells)} |", flush=True)
    if args.json:
        text = json.dumps({"machine": machine(), "hint": args.hint, "ours": ours, "rows": rows}, indent=2)
        Path(args.json).write_text(text + "\n", encoding="utf-8")


def _asked(pipeline: Any, tokens: int, new_tokens: int) -> Callable[[int], tuple[float, float]]:
    """A function of the turn -> milliseconds to the first token, and for each one after."""
    config = generation(new_tokens)

    def run(turn: int) -> tuple[float, float]:
        metrics = pipeline.generate(random_prompt(tokens << 10 | turn + 9, tokens), config).perf_metrics
        return metrics.get_ttft().mean, metrics.get_tpot().mean

    return run


if __name__ == "__main__":
    main()
