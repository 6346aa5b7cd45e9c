"""One site of a model, stock FullyConnected against scap_ov::SparseMatMul, alternating in one run.

    python benchmarks/kernel.py --json kernel.json
    python benchmarks/kernel.py --weights i8 --sparsity 0.5 --graded 20/60,40/50 --rows 1,2,4
    python benchmarks/kernel.py --rows 1,2,4,8 --sparsity 0,0.5 --json rows.json --keep --most-seconds 80    again, until none is left
    python benchmarks/kernel.py --shape 4096:14336+14336 --weights i4 --group-size 64 --sparsity 0,0.5 --rows 1,512

Each site is copied until it exceeds the caches, and the copies wait for each other as blocks of a model do. The number of rows is
dynamic as in exported models, where the CPU plugin infers the shapes of our op anew at every call. The glue between the copies
(a mean, a product and a sum per copy) is in both times. A site of several layers, K:N1+N2, is separate layers in stock OpenVINO and
one op in ours. Times are of one site; a speedup is the median of the ratios of runs that stood side by side.
Graded reads D/H of int8 weights drop D % of the channels and read H % by their high plane; they are set beside stock int4 (groups of 128)
of the same shape as well. The share of bytes is of what the rows together read: with several rows, the union.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from kept_results import KeptResults
from machine import machine

from scap_ov.benchmarking.paired import Spread, median_ratio
from scap_ov.benchmarking.site_models import MOST_COPIES, copies_of, graded_model, set_thresholds, sparse_model, stock_model
from scap_ov.cli.options import positive
from scap_ov.config import SparsityConfig
from scap_ov.custom_ops.formats import padded_columns
from scap_ov.custom_ops.library import extension_path, implementation
from scap_ov.evaluation.bytes_read import layer_bytes
from scap_ov.runtime import register
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec

MODELS = {
    "llama-3.2-1b": ("2048:2048+512+512", "2048:2048", "2048:8192+8192", "8192:2048"),
    "llama-3.1-8b": ("4096:4096+1024+1024", "4096:4096", "4096:14336+14336", "14336:4096"),
    "qwen2.5-1.5b": ("1536:1536+256+256", "1536:1536", "1536:8960+8960", "8960:1536"),
    "smollm2-135m": ("576:576+192+192", "576:576", "576:1536+1536", "1536:576"),
}
WEIGHTS = ("i4", "u4", "i8", "u8", "f16")
# Starting a request and waking its threads takes up to half a millisecond when two models take turns; spread over this much it is small.
_MODEL_BYTES = 256 << 20
_ARITHMETIC_ROWS = 64  # as many are bound by arithmetic, and long enough by themselves
_INT4_GROUP = 128  # of the stock int4 layers that graded reads are set beside


class Case(NamedTuple):
    """One line of the table, but for its sparsities."""

    k: int
    sizes: tuple[int, ...]
    weights: str
    group_size: int
    rows: int


def main() -> None:
    """Measure, print, write JSON."""
    args = _arguments()
    if args.isa:
        os.environ["SCAP_OV_ISA"] = args.isa
    name, bandwidth = implementation(), read_bandwidth()
    print(f"{machine()}; kernels {name}; read bandwidth {bandwidth:.1f} GB/s", file=sys.stderr)
    facts = {"machine": machine(), "hint": args.hint}
    kept = KeptResults(Path(args.json) if args.keep and args.json not in (None, "-") else None, facts)
    start, left = time.perf_counter(), 0
    for case in _cases(args):
        graded = args.graded if case.weights in ("u8", "i8") else []
        if kept.has(
            {"n": sum(case.sizes), "implementation": name, **{f: getattr(case, f) for f in ("k", "weights", "group_size", "rows")}}
        ):
            continue
        if args.most_seconds and time.perf_counter() - start > args.most_seconds:
            left += 1
            continue
        entries = _measure(case, args, graded)
        kept.add([{**entry, "implementation": name} for entry in entries], read_bandwidth_gb_s=bandwidth)
        for entry in entries:
            print(
                "{k:6d} -> {n:6d} {weights} g{group_size:<5d} rows {rows:<4d} {read}: ".format(**entry)
                + "stock {stock_us:8.1f} us, ours {ours_us:8.1f} us, {speedup:5.2f}x, {gb_s:5.1f} GB/s".format(**entry)
                + (", stock int4 {int4_us:8.1f} us, {speedup_int4:5.2f}x".format(**entry) if "int4_us" in entry else ""),
                file=sys.stderr,
                flush=True,
            )
    if left:
        print(f"{left} cases are left; run the same command again", file=sys.stderr)
    text = json.dumps({**facts, "read_bandwidth_gb_s": bandwidth, "results": kept.results}, indent=2) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
    elif args.json and not args.keep:
        Path(args.json).write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", action="append", type=_shape, help="K:N or K:N1+N2 of a fused site; several times; default: four models")
    parser.add_argument("--models", default=list(MODELS), type=_list_of(_one_of(MODELS)), help="whose shapes, without --shape")
    parser.add_argument("--weights", default=["i4"], type=_list_of(_one_of(WEIGHTS)), help="comma list of " + ", ".join(WEIGHTS))
    parser.add_argument("--group-size", type=int, default=128, help="of int4 and u8 weights; 0 for per channel, as i8 weights always are")
    parser.add_argument("--sparsity", default=[0, 0.25, 0.4, 0.5, 0.6, 0.7, 0.9], type=_list_of(_share), help="comma list, 0 to 1")
    parser.add_argument(
        "--graded", default=[], type=_list_of(_grade), help="comma list of D/H in percent, of int8 weights: dropped, half read"
    )
    parser.add_argument("--rows", default=[1], type=_list_of(positive), help="comma list of rows of x; many are computed dense")
    parser.add_argument("--isa", help="force an implementation, as SCAP_OV_ISA does")
    parser.add_argument("--no-dynamic-quantization", action="store_true", help="float activations in our op; stock keeps its default")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing per shape, behind building and compiling")
    parser.add_argument("--hint", default="", help="INFERENCE_PRECISION_HINT of both sides, such as f32; default: each side's own")
    parser.add_argument("--json", metavar="FILE", help="- for standard output")
    parser.add_argument("--keep", action="store_true", help="leave out cases that FILE holds, and add the others to it one by one")
    parser.add_argument("--most-seconds", type=float, default=0.0, help="begin no case after so many seconds, and say how many are left")
    return parser.parse_args()


def _list_of(parse: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [parse(item) for item in text.split(",")]


def _one_of(known: Iterable[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in known:
            msg = f"'{text}' is unknown; give some of {', '.join(known)}, joined by commas"
            raise argparse.ArgumentTypeError(msg)
        return text

    return parse


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        msg = f"'{text}' is no share; give 0 to below 1"
        raise argparse.ArgumentTypeError(msg)
    return value


def _grade(text: str) -> tuple[float, float]:
    dropped, _, half = text.partition("/")
    try:
        shares = float(dropped) / 100, float(half) / 100
    except ValueError:
        shares = (-1.0, 0.0)
    if min(shares) < 0 or sum(shares) > 1:
        msg = f"'{text}' is no grade; give percent dropped and half read, such as 20/60"
        raise argparse.ArgumentTypeError(msg)
    return shares


def _shape(text: str) -> tuple[int, tuple[int, ...]]:
    """K and the sizes of a site's layers."""
    k, _, sizes = text.partition(":")
    try:
        return positive(k), tuple(positive(size) for size in sizes.split("+"))
    except argparse.ArgumentTypeError as e:
        msg = f"'{text}' is no shape; give K:N, such as 2048:8192, or K:N1+N2"
        raise argparse.ArgumentTypeError(msg) from e


def _cases(args: argparse.Namespace) -> Iterator[Case]:
    shapes = args.shape or [_shape(text) for text in dict.fromkeys(text for name in args.models for text in MODELS[name])]
    for weights in args.weights:
        for k, sizes in shapes:
            group = 0 if weights == "f16" else k if weights == "i8" or not args.group_size else args.group_size
            if group and k % group:
                print(f"K = {k}: groups of {group} do not divide it; taking 64", file=sys.stderr)
                group = 64
            for rows in args.rows:
                yield Case(k, sizes, weights, group, rows)


def _measure(case: Case, args: argparse.Namespace, grades: list[tuple[float, float]]) -> list[dict[str, Any]]:
    """All sparsities and grades of one case, turn about with stock."""
    sparsities = args.sparsity
    site = _site(case, case.weights, case.group_size)
    few = case.rows <= SparsityConfig().max_sparse_rows
    copies = 2 if case.rows >= _ARITHMETIC_ROWS else copies_of(site)
    if few:
        copies = max(copies, min(MOST_COPIES, _MODEL_BYTES // int(_bytes_read(site, 0.0))))
    stock = stock_model(site, copies)
    sparse = sparse_model(stock, 0.5, SparsityConfig(dynamic_quantization=not args.no_dynamic_quantization))
    x = np.random.default_rng(0).standard_normal((case.rows, 1, case.k), np.float32)
    core = ov.Core()
    register(core)
    runs = [_request(core, stock, x, args.hint)]
    for sparsity in sparsities:
        set_thresholds(sparse, float(np.quantile(np.abs(x), sparsity)) if sparsity else -1.0)
        runs.append(_request(core, sparse, x, args.hint))
    if grades:
        graded = graded_model(sparse)
        for dropped, half in grades:
            above = dropped + half
            set_thresholds(
                graded,
                float(np.quantile(np.abs(x), dropped)) if dropped else -1.0,
                float(np.quantile(np.abs(x), above)) if above else -1.0,
            )
            runs.append(_request(core, graded, x, args.hint))
        runs.append(_request(core, stock_model(_site(case, "i4", _INT4_GROUP), copies), x, args.hint))
    times = _alternate(runs, args.seconds)
    entries = []
    for number, own in enumerate(times[1 : 1 + len(sparsities) + len(grades)]):
        ours = Spread.of(own).median / copies
        entry: dict[str, Any] = {
            "k": case.k,
            "n": site.out_features,
            "weights": case.weights,
            "group_size": case.group_size,
            "rows": case.rows,
            "stock_us": Spread.of(times[0]).median / copies * 1e6,
            "ours_us": ours * 1e6,
            "speedup": median_ratio(times[0], own),
        }
        if number < len(sparsities):
            entry |= {"sparsity": sparsities[number], "read": f"{sparsities[number]:4.0%}"}
            skipped = _dropped(x, sparsities[number]) if few else 0.0
        else:
            dropped, half = grades[number - len(sparsities)]
            skipped = (_dropped(x, dropped) + _dropped(x, dropped + half)) / 2 if few else 0.0
            entry |= {"dropped": dropped, "half": half, "read": f"{dropped:.0%}/{half:.0%}, {1 - skipped:.0%} of bytes"}
            entry |= {"int4_us": Spread.of(times[-1]).median / copies * 1e6, "speedup_int4": median_ratio(times[-1], own)}
        entries.append({**entry, "bytes": 1 - skipped, "gb_s": _bytes_read(site, skipped) / ours / 1e9})
    return entries


def _site(case: Case, weights: str, group_size: int) -> Site:
    has_zero_point = weights in ("u4", "u8")
    spec = WeightSpec(weights, group_size, "f16" if group_size else "", has_zero_point)
    return Site("site", SiteKind.OTHER, -1, tuple(Layer(f"layer{i}", case.k, size, spec) for i, size in enumerate(case.sizes)))


def _request(core: ov.Core, model: ov.Model, x: np.ndarray, hint: str) -> ov.InferRequest:
    precision = {"INFERENCE_PRECISION_HINT": hint} if hint else {}
    request = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **precision}).create_infer_request()
    request.set_input_tensor(ov.Tensor(x))
    for _ in range(2):
        request.infer()
    return request


def _alternate(requests: list[ov.InferRequest], seconds: float) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in requests]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for own, request in zip(times, requests, strict=True):
            start = time.perf_counter()
            request.infer()
            own.append(time.perf_counter() - start)
    return times


def _dropped(x: np.ndarray, sparsity: float) -> float:
    """Share of weight rows that no row of x keeps."""
    if sparsity in (0, 1):
        return sparsity
    small = np.abs(x.reshape(-1, x.shape[-1])) <= np.quantile(np.abs(x), sparsity)
    return float(small.all(axis=0).mean())


def _bytes_read(site: Site, dropped: float) -> float:
    total = 0.0
    for layer in site.layers:
        weights, rest = layer_bytes(layer)
        total += weights * (1 - dropped) + rest
    return total * padded_columns(site.out_features) / site.out_features


def read_bandwidth() -> float:
    """GB/s of reading 256 MB with all threads: what memory gives at best."""
    read = ctypes.CDLL(str(extension_path())).scap_ov_read_seconds
    read.restype = ctypes.c_double
    data = np.ones(256 << 20, np.uint8)
    threads = len(os.sched_getaffinity(0))
    return data.size / float(read(ctypes.c_void_p(data.ctypes.data), ctypes.c_size_t(data.size), threads, 5)) / 1e9


if __name__ == "__main__":
    main()
