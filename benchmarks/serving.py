"""Speed over simultaneous requests: tokens per second of all together, stock and pruned, alternating in one process, in both orders.

python benchmarks/serving.py stock sparse --requests 1,2,4,8,16,32 --json serving.json

Each request is a prompt of its own of a dozen tokens and writes --tokens tokens, in one openvino-genai ContinuousBatchingPipeline, as
examples/serve.py runs it. Both sides with INFERENCE_PRECISION_HINT=f32; with --stock-precision
default stock takes bf16 where the CPU has it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import openvino_genai as genai

import scap_ov

OPENINGS = ("Once upon a time there was", "The history of the city begins", "A good recipe starts with", "def fibonacci(n):")


def pipeline_of(folder: str, **properties: str) -> Any:
    """A pipeline with room for all requests."""
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 2
    return scap_ov.open_pipeline(folder, "continuous_batching", scheduler_config=scheduler, **properties)


def tokens_per_second(pipeline: Any, requests: int, tokens: int) -> float:
    """Of all requests together, their prompts included."""
    prompts = [f"{number}. {OPENINGS[number % len(OPENINGS)]}" for number in range(requests)]
    config = genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True, apply_chat_template=False)
    start = time.perf_counter()
    pipeline.generate(prompts, [config] * requests)
    return requests * tokens / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stock")
    parser.add_argument("sparse")
    parser.add_argument("--requests", default="1,2,4,8,16,32")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stock-precision", choices=("f32", "default"), default="f32")
    parser.add_argument("--json")
    args = parser.parse_args()
    in_f32 = {"INFERENCE_PRECISION_HINT": "f32"}
    stock = pipeline_of(args.stock, **in_f32 if args.stock_precision == "f32" else {})
    pipelines = {"stock": stock, "sparse": pipeline_of(args.sparse, **in_f32)}
    rows = []
    print("| requests | stock, tokens/s | scap_ov, tokens/s | ratio |\n|--:|--:|--:|--:|")
    for requests in map(int, args.requests.split(",")):
        for pipeline in pipelines.values():
            tokens_per_second(pipeline, requests, 4)
        runs = []
        for turn in range(args.repeats):  # either goes first in every second turn
            order = list(pipelines) if turn % 2 == 0 else list(reversed(pipelines))
            runs.append({name: tokens_per_second(pipelines[name], requests, args.tokens) for name in order})
        speed = {name: median(run[name] for run in runs) for name in pipelines}
        ratio = median(run["sparse"] / run["stock"] for run in runs)
        rows.append({"requests": requests, **speed, "ratio": ratio})
        print(f"| {requests} | {speed['stock']:.0f} | {speed['sparse']:.0f} | {ratio:.2f} |", flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
