"""Memory and time of a calibration over the size of the model: random weights in the shapes of real models, a process each.

    python benchmarks/calibration.py --work bench_models --json calibration.json
    python benchmarks/calibration.py --models 3b --blocks 8,12 --steps dense --json calibration.json

Each step runs in a process of its own, and what `--json` holds already is kept, so that a long measurement can be taken in pieces.
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
from scap_ov.config import SparsityConfig
from scap_ov.gradients.program import EXACT
from scap_ov.sample_models.random_llm import Shape, build
from scap_ov.statistics.profile import CalibrationProfile
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
SENSITIVE = 4  # samples that sensitivity is measured on at most, 2,048 tokens
PROFILE = "profile.safetensors"


def main() -> None:
    """Make what is missing in the work folder, measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("bench_models"), help="folder for the models; kept and reused")
    parser.add_argument("--models", default=",".join(SHAPES), help="comma list of " + ", ".join(SHAPES))
    parser.add_argument("--blocks", help="how many blocks of each model are run, instead of the usual numbers")
    parser.add_argument("--windows", type=int, default=4, help=f"calibration samples of {WINDOW} tokens")
    parser.add_argument("--steps", default=",".join(STEPS), help=f"comma list of {', '.join(STEPS)}; apply needs the profile of calibrate")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--child", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        step, folder = args.child
        (STEPS | {"make": _make})[step](Path(folder), args.windows)
        return
    names, steps = args.models.split(","), args.steps.split(",")
    for what, given, known in (("models", names, SHAPES), ("steps", steps, STEPS)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"unknown {what} {', '.join(unknown)}; give some of {', '.join(known)}")
    for name in names:
        for blocks in map(int, args.blocks.split(",")) if args.blocks else MEASURED[name]:
            found = _measure(name, blocks, args.work, args.windows, steps)
            print(json.dumps(found), flush=True)
            if args.json:
                _keep(args.json, found, args.windows)


def _keep(path: Path, found: dict[str, Any], windows: int) -> None:
    """Put a result into the file, beside what is there of other models and of other steps of this one."""
    head = {"machine": machine(), "window": WINDOW, "windows": windows}
    results = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else []
    same = next((r for r in results if (r["model"], r["blocks"]) == (found["model"], found["blocks"])), None)
    if same is None:
        results.append(found)
    else:
        same |= found
    order = [shape.name for shape, _ in SHAPES.values()]
    results.sort(key=lambda r: (order.index(r["model"]), r["blocks"]))
    path.write_text(json.dumps({**head, "results": results}, indent=2) + "\n", encoding="utf-8")


def _measure(name: str, blocks: int, work: Path, windows: int, steps: list[str]) -> dict[str, Any]:
    """Steps of one model."""
    shape, weights = SHAPES[name]
    folder = work / f"calibration-{name}-{weights}-{blocks}"
    if not (folder / MODEL_FILE).is_file():
        _run("make", folder, windows)
    file_bytes = (folder / MODEL_FILE).with_suffix(".bin").stat().st_size
    found = {"model": shape.name, "weights": weights, "blocks": blocks, "of": shape.layers, "file_bytes": file_bytes}
    for step in steps:
        found |= _run(step, folder, windows)
    return found


def _run(step: str, folder: Path, windows: int) -> dict[str, Any]:
    """One step in a process of its own."""
    command = [sys.executable, __file__, "--child", step, str(folder), "--windows", str(windows)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return dict(json.loads(lines[-1])) if lines else {}


def _make(folder: Path, windows: int) -> None:
    """Write the model, whose name and depth are in the folder's."""
    del windows
    name, weights, blocks = folder.name.removeprefix("calibration-").rsplit("-", 2)
    folder.mkdir(parents=True, exist_ok=True)
    save_aligned(build(replace(SHAPES[name][0], layers=int(blocks)), weights, int(blocks)), folder / MODEL_FILE)


def _calibrate(folder: Path, windows: int) -> None:
    """Calibrate, and leave the profile in the folder."""
    samples = _samples(read_model(folder), windows)
    clocks = {"": _clock()}

    def progress(_done: int, _total: int | None, title: str) -> None:
        if title not in clocks:
            print(f"{folder.name}: {title}", file=sys.stderr, flush=True)
            clocks[title] = _clock()

    profile = scap_ov.calibrate(folder, nncf.Dataset(samples), progress=progress)
    at = np.array([*clocks.values(), _clock()])
    peak = _peak()
    profile.save(folder / PROFILE)
    (seconds, processor), (phases, phases_processor) = (at[-1] - at[0]).tolist(), np.diff(at, axis=0)[1:].T.tolist()
    titles = list(clocks)[1:]
    print(json.dumps({"peak_bytes": peak, "seconds": seconds, "processor_seconds": processor,
                      "phases": dict(zip(titles, phases, strict=True)),
                      "phases_processor": dict(zip(titles, phases_processor, strict=True)),
                      "profile_bytes": (folder / PROFILE).stat().st_size}))  # fmt: skip


def _apply(folder: Path, windows: int) -> None:
    """Apply the default configuration from the profile, every site lowered, and save; what is left stock costs nothing."""
    del windows
    start = np.array(_clock())
    sparse = scap_ov.apply(folder, CalibrationProfile.load(folder / PROFILE), SparsityConfig(replace="always"))
    made = np.array(_clock())
    target = folder / "sparse"
    scap_ov.save_model(sparse, target)
    end = np.array(_clock())
    for file in target.iterdir():
        file.unlink()
    target.rmdir()
    (seconds, processor), (saving, saving_processor) = (made - start).tolist(), (end - made).tolist()
    print(json.dumps({"apply_seconds": seconds, "apply_processor_seconds": processor, "save_seconds": saving,
                      "save_processor_seconds": saving_processor, "apply_peak_bytes": _peak()}))  # fmt: skip


def _dense(folder: Path, windows: int) -> None:
    """Run the stock model densely over as many tokens as sensitivity is measured on."""
    model = read_model(folder)
    samples = _samples(model, min(windows, SENSITIVE))
    request = ov.Core().compile_model(model, "CPU", EXACT).create_infer_request()
    seconds = processor = 0.0
    for turn, sample in enumerate([samples[0], *samples]):
        ids = sample["input_ids"]
        inputs = {"attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.shape[1])[None], "beam_idx": np.zeros(1, np.int32)}
        request.reset_state()
        start, busy = time.perf_counter(), time.process_time()
        request.infer({"input_ids": ids, **inputs})
        if turn:  # the first one warms up
            seconds, processor = seconds + time.perf_counter() - start, processor + time.process_time() - busy
    print(json.dumps({"dense_forward_seconds": seconds, "dense_forward_processor_seconds": processor}))


def _samples(model: ov.Model, windows: int) -> list[dict[str, np.ndarray]]:
    port = next(p for p in model.outputs if "logits" in p.get_names())
    vocabulary = port.get_partial_shape()[-1].get_length()
    return [{"input_ids": np.random.default_rng(i).integers(3, vocabulary, (1, WINDOW))} for i in range(windows)]


def _clock() -> tuple[float, float]:
    """Time, and time of all processors together, which says more where other programs run."""
    return time.perf_counter(), time.process_time()


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


STEPS = {"dense": _dense, "calibrate": _calibrate, "apply": _apply}

if __name__ == "__main__":
    main()
