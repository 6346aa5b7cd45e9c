"""Memory and time of a calibration over the size of the model: random weights in the shapes of real models, a process each.

    python benchmarks/calibration.py --work bench_models --json calibration.json
    python benchmarks/calibration.py --models 3b --blocks 8,12 --windows 4

What is not run with all of its blocks is computed from the slope between two depths, and marked so.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
from machine import machine

import scap_ov
from scap_ov.gradients.program import EXACT
from scap_ov.sample_models.random_llm import Shape, build
from scap_ov.storage.aligned import save_aligned
from scap_ov.storage.model_folder import MODEL_FILE, read_model

SHAPES = {
    "135m": (Shape("SmolLM2-135M", 30, 576, 1536, 9, 3, 49152), "f16"),
    "0.5b": (Shape("Qwen2.5-0.5B", 24, 896, 4864, 14, 2, 151936), "i8"),
    "1b": (Shape("Llama-3.2-1B", 16, 2048, 8192, 32, 8, 128256), "i4"),
    "3b": (Shape("Qwen2.5-3B", 36, 2048, 11008, 16, 2, 151936), "i4"),
    "8b": (Shape("Llama-3.1-8B", 32, 4096, 14336, 32, 8, 128256), "i4"),
}
MEASURED = {"135m": (30,), "0.5b": (24,), "1b": (16,), "3b": (8, 12), "8b": (2, 4)}  # blocks; of the large ones what fits the time
WINDOW = 512


def main() -> None:
    """Make what is missing in the work folder, measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("bench_models"), help="folder for the models; kept and reused")
    parser.add_argument("--models", default=",".join(SHAPES), help="comma list of " + ", ".join(SHAPES))
    parser.add_argument("--blocks", help="how many blocks of each model are run, instead of the usual numbers")
    parser.add_argument("--windows", type=int, default=4, help=f"calibration samples of {WINDOW} tokens")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(_calibrate(args.child, args.windows)))
        return
    names = args.models.split(",")
    if unknown := [name for name in names if name not in SHAPES]:
        parser.error(f"unknown models {', '.join(unknown)}; give some of {', '.join(SHAPES)}")
    results = []
    for name in names:
        for blocks in map(int, args.blocks.split(",")) if args.blocks else MEASURED[name]:
            results.append(_measure(name, blocks, args))
            print(json.dumps(results[-1]), flush=True)
    if args.json:
        text = json.dumps({"machine": machine(), "window": WINDOW, "windows": args.windows, "results": results}, indent=2)
        Path(args.json).write_text(text + "\n", encoding="utf-8")


def _measure(name: str, blocks: int, args: argparse.Namespace) -> dict[str, Any]:
    """One model in a process of its own."""
    shape, weights = SHAPES[name]
    folder = args.work / f"calibration-{name}-{weights}-{blocks}"
    if not (folder / MODEL_FILE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_aligned(build(replace(shape, layers=blocks), weights, blocks), folder / MODEL_FILE)
    command = [sys.executable, __file__, "--child", str(folder), "--windows", str(args.windows)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    file_bytes = (folder / MODEL_FILE).with_suffix(".bin").stat().st_size
    return {"model": shape.name, "weights": weights, "blocks": blocks, "of": shape.layers, "file_bytes": file_bytes, **found}


def _calibrate(folder: Path, windows: int) -> dict[str, Any]:
    """Calibrate, and run the stock model densely over as many tokens as sensitivity is measured on."""
    model = read_model(folder)
    port = next(p for p in model.outputs if "logits" in p.get_names())
    vocabulary = port.get_partial_shape()[-1].get_length()
    samples = [{"input_ids": np.random.default_rng(i).integers(3, vocabulary, (1, WINDOW))} for i in range(windows)]
    phases: dict[str, float] = {}

    def progress(_done: int, _total: int | None, title: str) -> None:
        phases.setdefault(title, time.perf_counter())

    start = time.perf_counter()
    profile = scap_ov.calibrate(folder, nncf.Dataset(samples), progress=progress)
    end = time.perf_counter()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = folder / "profile.safetensors"
    profile.save(path)
    names, starts = list(phases), [*phases.values(), end]
    seconds = {name: starts[i + 1] - starts[i] for i, name in enumerate(names)}
    found = {"peak_bytes": peak, "seconds": end - start, "phases": seconds, "profile_bytes": path.stat().st_size}
    path.unlink()
    return {**found, "dense_forward_seconds": _dense(model, samples[:4])}


def _dense(model: ov.Model, samples: list[dict[str, np.ndarray]]) -> float:
    request = ov.Core().compile_model(model, "CPU", EXACT).create_infer_request()
    seconds = 0.0
    for turn, sample in enumerate([samples[0], *samples]):
        ids = sample["input_ids"]
        inputs = {"attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.shape[1])[None], "beam_idx": np.zeros(1, np.int32)}
        request.reset_state()
        start = time.perf_counter()
        request.infer({"input_ids": ids, **inputs})
        seconds += (time.perf_counter() - start) if turn else 0.0  # the first one warms up
    return seconds


if __name__ == "__main__":
    main()
