"""Time to the first token over the length of the prompt, stock and pruned, alternating in one process.

python benchmarks/prompts.py stock sparse --prompts 8,16,32,64,128 --json prompts.json

Random token ids, new ones in every turn: a prompt that was seen before would come from openvino-genai's cache. Ours runs with
INFERENCE_PRECISION_HINT=f32 as `open_pipeline` has it, stock with its default or with --hint.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine

from scap_ov.benchmarking.decode import generation, random_prompt
from scap_ov.benchmarking.paired import alternate, median_ratio
from scap_ov.models.genai import library_for, open_pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stock")
    parser.add_argument("sparse")
    parser.add_argument("--prompts", default="8,16,32,64,128", help="comma list of lengths in tokens")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--hint", default="", help="INFERENCE_PRECISION_HINT of stock, such as f32")
    parser.add_argument("--json")
    args = parser.parse_args()
    hint = {"INFERENCE_PRECISION_HINT": args.hint} if args.hint else {}
    pipelines = {"stock": open_pipeline(args.stock, **hint), "sparse": open_pipeline(args.sparse, library=library_for(args.sparse))}
    config = generation(2)
    rows: list[dict[str, Any]] = []
    print("| prompt, tokens | stock, ms | scap_ov, ms | ratio |\n|--:|--:|--:|--:|")
    for tokens in map(int, args.prompts.split(",")):

        def first(name: str, length: int = tokens) -> Any:
            return lambda turn: (
                pipelines[name].generate(random_prompt(length << 10 | turn + 9, length), config).perf_metrics.get_ttft().mean
            )

        runs = alternate({name: first(name) for name in pipelines}, args.repeats, warmup=3)
        ratio = median_ratio(runs["stock"], runs["sparse"])
        rows.append({"tokens": tokens, **{f"{name}_ms": median(times) for name, times in runs.items()}, "ratio": ratio})
        print(f"| {tokens} | {median(runs['stock']):.1f} | {median(runs['sparse']):.1f} | {ratio:.2f} |", flush=True)
    if args.json:
        text = json.dumps({"machine": machine(), "hint": args.hint, "rows": rows}, indent=2)
        Path(args.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
