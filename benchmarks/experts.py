"""Blocks of routed experts, stock OpenVINO against scap_ov::SparseExperts, alternating in one run.

    python benchmarks/experts.py --work bench_models --json experts.json
    python benchmarks/experts.py --models qwen3-30b-a3b --weights i8 --rows 1,4 --sparsity 0,0.5,0.5g

`0.5g` stands for half of the bytes by grades, of weights of 8 bits, and `0.5e` for half of the experts that a token uses. A long run can
go in pieces: with --work, files that are there are used again (`--what files` writes them and does no more), and with --json, results that
the file holds of other shapes, weights and rows stay.

Both run in f32 (INFERENCE_PRECISION_HINT) from files: stock's weights are mapped and repacked, ours stay mapped. Inputs change with every
step, so that other experts are chosen and none lies in a cache from the step before. The run stops when stock does not take its own fast
path (GatherMatmulCompressed). Times are of one block; a speedup is the median of the ratios of runs that stood side by side. Memory and
load time are of a process of their own, resident after 16 tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from expert_models import GROUP, SHAPES, ExpertShape, Level, write_pair
from kernel import read_bandwidth
from machine import machine

from scap_ov.benchmarking.paired import Spread, median_ratio
from scap_ov.custom_ops.library import implementation
from scap_ov.runtime import register

_FILE_BYTES = 1.3e9  # of the blocks of one model
_CONFIG = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": "YES"}  # the last one tells what stock ran
_TOKENS = 16  # after which memory is looked at
_LINE = (
    "{name} {weights} rows {rows:<4d} {sparsity:4.0%} {way:8}: stock {stock_ms:8.2f} ms, ours {ours_ms:8.2f} ms, {speedup:5.2f}x "
    "(fastest {stock_best_ms:.2f}, {ours_best_ms:.2f})"
)


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=",".join(SHAPES), help=f"comma list of {', '.join(SHAPES)}")
    parser.add_argument("--weights", default="i4,i8", help=f"comma list of {', '.join(GROUP)}")
    parser.add_argument("--rows", default="1,2,4,8,32,512", help="comma list of tokens in a step")
    parser.add_argument(
        "--sparsity", default="0,0.5,0.5g,0.5e", help="comma list of shares of bytes that a token does not read; g: by grades, e: experts"
    )
    parser.add_argument("--what", default="all", choices=("all", "files", "memory", "speed"), help="to do; files: write them only")
    parser.add_argument("--blocks", type=int, help="of each model; default: as many as fill 1.3 GB")
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing for each number of rows")
    parser.add_argument("--work", type=Path, help="folder for the models, which stay there; default: a temporary one")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(_load(args.child)))
        return
    bandwidth = 0.0 if args.what == "files" else read_bandwidth()
    print(f"{machine()}; kernels {implementation()}; read bandwidth {bandwidth:.1f} GB/s", file=sys.stderr)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.models.split(","):
            for weights in args.weights.split(","):
                results += _measure(name, weights, args, bandwidth, args.work or Path(scratch))
    results = [{**r, "implementation": implementation()} for r in results]
    if args.json and results:
        results = _with_those_of(Path(args.json), results)
        text = {"machine": machine(), "read_bandwidth_gb_s": bandwidth, "results": results}
        Path(args.json).write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")


def _with_those_of(file: Path, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results, behind those that a file of this machine holds of anything else."""
    if not file.exists() or (before := json.loads(file.read_text(encoding="utf-8")))["machine"] != machine():
        return results

    def key(result: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(result.get(name) for name in ("name", "weights", "rows", "sparsity", "way"))

    new = {key(result) for result in results}
    return [*(result for result in before["results"] if key(result) not in new), *results]


def expert_bytes(shape: ExpertShape, weights: str) -> float:
    """Weights and scales of one expert."""
    one = shape.hidden * shape.ffn * 3
    group = GROUP[weights]
    scales = 2 * (one / group if group else 2 * shape.ffn + shape.hidden)
    return one * (0.5 if weights == "i4" else 1.0) + scales


def _measure(name: str, weights: str, args: argparse.Namespace, bandwidth: float, scratch: Path) -> list[dict[str, Any]]:
    shape = SHAPES[name]
    own = expert_bytes(shape, weights)
    blocks = args.blocks or max(2, int(_FILE_BYTES / (own * shape.experts)))
    levels = [level for level in map(Level.parse, args.sparsity.split(",")) if not (level.way == "grades" and weights == "i4")]
    folder = scratch / f"{name}-{weights}-{blocks}"
    folder.mkdir(parents=True, exist_ok=True)
    files = write_pair(shape, weights, blocks, levels, folder)
    common = {"name": name, "weights": weights, "blocks": blocks}
    results: list[dict[str, Any]] = []
    if args.what in ("all", "memory"):
        results.append({**common, **_resources(files)})
        print(f"{name} {weights}: memory {results[0]['memory_ratio']:.2f}x, load {results[0]['load_ratio']:.2f}x of stock", file=sys.stderr)
    if args.what in ("files", "memory"):
        return results
    requests = {key: _request(path) for key, path in files.items()}
    _check_fast_path(requests["stock"], blocks, shape.hidden)
    for rows in map(int, args.rows.split(",")):
        times = _alternate(requests, shape, rows, args.seconds)
        for level in levels:
            entry = {**common, "rows": rows, "sparsity": level.share, "way": level.way, **_times(times, str(level), blocks)}
            if rows == 1:
                entry["limit"] = entry["stock_ms"] / (own * shape.choices * (1 - level.share) / bandwidth / 1e6)
            results.append(entry)
            print(_LINE.format(**entry), file=sys.stderr, flush=True)
    return results


def _times(times: dict[str, list[float]], level: str, blocks: int) -> dict[str, float]:
    """Milliseconds of a block, and how many times faster ours was."""
    found = {"speedup": median_ratio(times["stock"], times[level])}
    for name, own in (("stock", times["stock"]), ("ours", times[level])):
        found |= {f"{name}_ms": Spread.of(own).median / blocks * 1e3, f"{name}_best_ms": min(own) / blocks * 1e3}
    return found


def _resources(files: dict[str, Path]) -> dict[str, Any]:
    """Memory and load time of stock and of ours with nothing dropped, each in a process of its own, twice in turn."""
    runs: dict[str, list[dict[str, float]]] = {"stock": [], "ours": []}
    for _ in range(2):
        for key, path in (("stock", files["stock"]), ("ours", next(path for name, path in files.items() if name != "stock"))):
            done = subprocess.run([sys.executable, __file__, "--child", str(path)], capture_output=True, text=True, check=True)
            runs[key].append(json.loads(done.stdout))
    found: dict[str, Any] = {}
    for what in ("load_s", "resident_bytes", "anonymous_bytes"):
        for key, own in runs.items():
            found[f"{key}_{what}"] = statistics.median(run[what] for run in own)
    found["memory_ratio"] = found["ours_resident_bytes"] / found["stock_resident_bytes"]
    found["load_ratio"] = found["ours_load_s"] / found["stock_load_s"]
    return found


def _load(path: Path) -> dict[str, float]:
    """Read, compile, run tokens: seconds, and bytes that the process holds more than before."""
    core = ov.Core()
    register(core)
    core.compile_model(_tiny(), "CPU")  # the plugin's own libraries
    before, start = _memory(), time.perf_counter()
    request = core.compile_model(core.read_model(path), "CPU", _CONFIG).create_infer_request()
    seconds = time.perf_counter() - start
    hidden = request.get_compiled_model().input(0).get_partial_shape()[-1].get_length()
    for token in range(_TOKENS):
        request.infer([_x(token, 1, hidden)])
    after = _memory()
    return {"load_s": seconds, "resident_bytes": after[0] - before[0], "anonymous_bytes": after[1] - before[1]}


def _tiny() -> ov.Model:
    x = ov.opset13.parameter([1], np.float32)
    return ov.Model([ov.opset13.add(x, np.float32(1))], [x])


def _memory() -> tuple[int, int]:
    """Resident and anonymous bytes of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[key].split()[0]) << 10 for key in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


def _request(path: Path) -> ov.InferRequest:
    core = ov.Core()
    register(core)
    return core.compile_model(core.read_model(path), "CPU", _CONFIG).create_infer_request()


def _check_fast_path(request: ov.InferRequest, blocks: int, hidden: int) -> None:
    request.infer([_x(0, 1, hidden)])
    count = [node.node_type for node in request.profiling_info].count("GatherMatmulCompressed")
    if count != 3 * blocks:
        msg = f"stock runs {count} GatherMatmulCompressed for {blocks} blocks, not {3 * blocks}: this is not its fast path"
        raise SystemExit(msg)


def _x(step: int, rows: int, hidden: int) -> np.ndarray:
    return np.random.default_rng(step).standard_normal((rows, 1, hidden), np.float32)


def _alternate(requests: dict[str, ov.InferRequest], shape: ExpertShape, rows: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each step, all models in turn on the same x."""
    times: dict[str, list[float]] = {key: [] for key in requests}
    end, step = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or step < 4:
        x = _x(step, rows, shape.hidden)
        for key, request in requests.items():
            start = time.perf_counter()
            request.infer([x])
            if step:  # the first one allocates
                times[key].append(time.perf_counter() - start)
        step += 1
    return times


if __name__ == "__main__":
    main()
