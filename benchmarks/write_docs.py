"""Write docs/benchmarks.md, and README's table of gains, from the JSON that kernel.py, decode.py, experts.py and peers.py left in a folder.

Run by `make bench`, last:

    python benchmarks/write_docs.py bench_results docs/benchmarks.md --readme README.md
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from experts_page import expert_section, expert_targets

_NAMES = {
    "smollm2-135m": "SmolLM2-135M (real weights)",
    "llama-3.2-1b": "Llama-3.2-1B shape",
    "llama-3.1-8b": "Llama-3.1-8B shape",
    "qwen3-30b-a3b": "Qwen3-30B-A3B shape",
}
_BEGIN, _END = "<!-- calibration: begin -->", "<!-- calibration: end -->"
_HEAD = "Written by `make bench` (benchmarks/write_docs.py) from measurements. Only remarks (`--remark`) are given by hand."
_HINT = (
    "Whole models: ours runs with `INFERENCE_PRECISION_HINT=f32` (ADR 0011), stock with its defaults, which are bf16 where the CPU has it; "
    "stock gains from f32 there too."
)


def main() -> None:
    """Read, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of kernel*.json, decode*.json and peers*.json")
    parser.add_argument("target", type=Path, help="file to write")
    parser.add_argument("--readme", type=Path, help="file whose table between `gains: begin` and `gains: end` is written too")
    parser.add_argument("--remark", action="append", default=[], help="on the circumstances, for the page's head")
    parser.add_argument("--only-calibration", action="store_true", help="write that section of the page alone, from calibration*.json")
    args = parser.parse_args()
    kernels, models, experts, peers, calibrations = (
        [json.loads(p.read_text()) for p in sorted(args.results.glob(f"{kind}*.json"))]
        for kind in ("kernel", "decode", "experts", "peers", "calibration")
    )
    if args.only_calibration:
        _only_calibration(args.target, calibrations)
        return
    if not kernels and not models:
        msg = f"{args.results} holds no kernel*.json and no decode*.json; run `make bench`"
        raise SystemExit(msg)
    lines = ["# Benchmarks", "", _HEAD, ""]
    lines += _about([*kernels, *models, *experts, *peers])
    lines += [f"{remark}\n" for remark in (_HINT, *args.remark)]
    bandwidth = max((file["read_bandwidth_gb_s"] for file in kernels), default=0.0)
    lines += _targets(models, kernels, experts) + _models(models) + _experts(experts) + _kernels(kernels, bandwidth)
    lines += _peers(peers) + _calibrations(calibrations)
    args.target.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"wrote {args.target}", file=sys.stderr)
    if args.readme:
        _write_gains(args.readme, models)


def _write_gains(readme: Path, files: Sequence[dict[str, Any]]) -> None:
    """What users ask for first: whole models at 50 %."""
    begin, end = "<!-- gains: begin -->", "<!-- gains: end -->"
    before, _, rest = readme.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        msg = f"{readme} has no lines `{begin}` and `{end}`"
        raise SystemExit(msg)
    results = [r for file in files for r in file["results"] if r["sparsity"] == 0.5 and not r["lm_head"] and "extrapolated" not in r]
    rows = []
    for name, weights in dict.fromkeys((r["name"], r["weights"]) for r in results):
        own = [r for r in results if (r["name"], r["weights"]) == (name, weights)]
        prompts = " / ".join(str(r["prompt_tokens"]) for r in own)
        cells = (
            [r["decode_speedup"] for r in own],
            [r["prefill_speedup"] for r in own],
            *([_ratio(r["model"], r["reference"], key) for r in own] for key in ("peak_rss_bytes", "load_s")),
        )
        rows.append((f"{_NAMES.get(name, name)}, {weights}", prompts, *(" / ".join(f"{v:.2f}×" for v in cell) for cell in cells)))
    header = ("model, weights", "prompt, tokens", "decode speed", "prompt speed", "peak memory", "load time")
    about = f"{', '.join(dict.fromkeys(file['machine'] for file in files))}:"
    table = "\n".join(["", about, "", *_table(header, rows), ""])
    readme.write_text(before + begin + table + end + after, encoding="utf-8")
    print(f"wrote the table of {readme}", file=sys.stderr)


def _about(files: Sequence[dict[str, Any]]) -> list[str]:
    machines = ", ".join(dict.fromkeys(file["machine"] for file in files))
    bandwidths = [file["read_bandwidth_gb_s"] for file in files if "read_bandwidth_gb_s" in file]
    kernels = ", ".join(dict.fromkeys(r["implementation"] for file in files for r in file["results"] if "implementation" in r))
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    facts = [f"Machine: {machines}.", f"Revision {revision or 'unknown'}."]
    if bandwidths:
        facts.insert(1, f"Read bandwidth of all cores {max(bandwidths):.1f} GB/s. Kernels: {kernels}.")
    claim = "Every speed-up is the median of ratios of runs that stood side by side, stock OpenVINO with its default settings against ours."
    return [" ".join(facts), "", claim, ""]


_BYTES = {"i4": 0.5, "u4": 0.5, "i8": 1.0, "u8": 1.0, "f16": 2.0}
_FEW_ROWS = 8  # more are bound by arithmetic, not by bytes
_LARGE = 4e6  # bytes of a site's weights from which the targets hold


class _Targets:
    """Rows of a table: what we want at least (or at most) beside the worst case that was measured."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, ...]] = []

    def add(self, what: str, least: float, found: Iterable[float], *, at_most: bool = False) -> None:
        """One row, if anything was measured."""
        values = list(found)
        if not values:
            return
        worst = max(values) if at_most else min(values)
        met = worst <= least if at_most else worst >= least
        self.rows.append((what, f"{'≤' if at_most else '≥'} {least:.2f}×", f"{worst:.2f}×", str(len(values)), "yes" if met else "**no**"))


def _targets(models: Sequence[dict[str, Any]], kernels: Sequence[dict[str, Any]], experts: Sequence[dict[str, Any]]) -> list[str]:
    table = _Targets()
    sites = [r for file in kernels for r in file["results"] if r["k"] * r["n"] * _BYTES[r["weights"]] > _LARGE]
    for isa in dict.fromkeys(r["implementation"] for r in sites):
        _add_sites(table, isa, [r for r in sites if r["implementation"] == isa])
    _add_models(table, [r for file in models for r in file["results"]])
    for what, least, found, at_most in expert_targets(experts):
        table.add(what, least, found, at_most=at_most)
    header = ("what", "wanted", "worst measured", "cases", "met")
    more = "What limits the cases that are missed, and what was tried: [ADR 0011](adr/0011-what-limits-the-gemv.md)."
    return ["## Targets", "", *_table(header, table.rows), "", more, ""]


def _add_sites(table: _Targets, isa: str, sites: Sequence[dict[str, Any]]) -> None:
    def add(what: str, least: float, weights: str, sparsity: float, rows: int = 1, most_n: float = float("inf")) -> None:
        found = [r["speedup"] for r in sites if (r["weights"], r["sparsity"], r["rows"]) == (weights, sparsity, rows) and r["n"] <= most_n]
        table.add(f"{isa}: site over 4 MB{what}, {weights}, {rows} row{'s' * (rows > 1)}, {sparsity:.0%}", least, found)

    for weights in ("i4", "i8", "f16"):
        for sparsity, least in ((0.0, 1.0), (0.5, 1.8), (0.7, 2.6)):
            add("", least, weights, sparsity)
    for weights in ("i4", "i8"):
        add(" with N ≤ 4096 (o, down)", 1.7, weights, 0.5, most_n=4096)
        for count, least in ((2, 1.25), (4, 1.0)):
            add("", least, weights, 0.5, count)


def _add_models(table: _Targets, wholes: Sequence[dict[str, Any]]) -> None:
    def decode(name: str, weights: str, *, lm_head: bool = False) -> list[float]:
        found = [r for r in wholes if (r["name"], r["weights"], r["sparsity"], r["lm_head"]) == (name, weights, 0.5, lm_head)]
        return [r.get("extrapolated", r)["decode_speedup"] for r in found]

    table.add("Llama-3.2-1B shape, i4, 50%, decode", 1.42, decode("llama-3.2-1b", "i4"))
    table.add("the same, lm_head in the op", 1.55, decode("llama-3.2-1b", "i4", lm_head=True))
    table.add("Llama-3.1-8B shape, i4, 50%, decode", 1.7, decode("llama-3.1-8b", "i4"))
    table.add("Qwen3-30B-A3B shape, i4, 50%, decode", 2.0, decode("qwen3-30b-a3b", "i4"))
    table.add("SmolLM2-135M, i8, 50%, decode", 1.25, decode("smollm2-135m", "i8"))
    table.add("prompt of 512 tokens, every model", 0.9, [r["prefill_speedup"] for r in wholes if r["prompt_tokens"] == 512])
    ratios = [r for r in wholes if r["name"] == "llama-3.2-1b" and r["weights"] == "i4" and not r["lm_head"]]
    for key, what in (("peak_rss_bytes", "peak memory"), ("load_s", "load time")):
        table.add(f"Llama-3.2-1B shape, i4, {what}", 0.75, [_ratio(r["model"], r["reference"], key) for r in ratios], at_most=True)


def _models(files: Sequence[dict[str, Any]]) -> list[str]:
    results = [r for file in files for r in file["results"]]
    if not results:
        return []
    lines = [
        "## Whole models through openvino-genai",
        "",
        "Every block layer is replaced, also where it loses; `scap-ov apply` leaves such layers stock.",
    ]
    lines += ["`extrapolated`: fewer blocks were measured at two depths; the time of a whole model follows from the slope.", ""]
    rows = []
    for r in results:
        more = r.get("extrapolated")
        speedup = (
            f"{r['decode_speedup']:.2f}×" if more is None else f"{more['decode_speedup']:.2f}× (extrapolated from {r['layers']} blocks)"
        )
        model, stock = r["model"], r["reference"]
        rows.append(
            (
                _NAMES.get(r["name"], r["name"]) + (", lm_head in the op" if r["lm_head"] else ""),
                r["weights"],
                f"{r['sparsity']:.0%}",
                str(r["prompt_tokens"]),
                speedup,
                f"{stock['decode_tokens_per_s']['median']:.1f} / {model['decode_tokens_per_s']['median']:.1f}",
                f"{r['prefill_speedup']:.2f}×",
                f"{_ratio(model, stock, 'peak_rss_bytes'):.2f}×",
                f"{_ratio(model, stock, 'load_s'):.2f}×",
            )
        )
    header = ("model", "weights", "dropped", "prompt", "decode", "tokens/s stock / ours", "prompt speed", "peak memory", "load time")
    return [*lines, *_table(header, rows), ""]


def _ratio(model: dict[str, Any], stock: dict[str, Any], key: str) -> float:
    return float(model[key]["median"] / stock[key]["median"])


def _kernels(files: Sequence[dict[str, Any]], bandwidth: float) -> list[str]:
    """`limit at 50 %`: stock's time over that of reading what is kept, scales and all, at the machine's read bandwidth."""
    results = [r for file in files for r in file["results"]]
    lines: list[str] = []
    for isa, weights, rows in dict.fromkeys((r["implementation"], r["weights"], r["rows"]) for r in results):
        own = [r for r in results if (r["implementation"], r["weights"], r["rows"]) == (isa, weights, rows)]
        levels = sorted({r["sparsity"] for r in own})
        table = []
        for shape in dict.fromkeys((r["k"], r["n"], r["group_size"]) for r in own):
            at = {r["sparsity"]: r for r in own if (r["k"], r["n"], r["group_size"]) == shape}
            first = next(iter(at.values()))
            cells = [f"{at[s]['speedup']:.2f}×" if s in at else "" for s in levels]
            table.append(
                (
                    f"{shape[0]} → {shape[1]}",
                    str(shape[2] or "-"),
                    f"{first['stock_us']:.0f}",
                    *cells,
                    f"{first['stock_us'] * bandwidth / (at[0.5]['gb_s'] * at[0.5]['ours_us']):.2f}×"
                    if 0.5 in at and rows <= _FEW_ROWS
                    else "",
                    f"{max(r['gb_s'] for r in at.values()):.1f}",
                )
            )
        title = f"## One site, {weights}, {isa}, {rows} row{'s' if rows > 1 else ''}"
        header = ("K → N", "group", "stock, µs", *(f"{s:.0%}" for s in levels), "limit at 50%", "best GB/s")
        lines += [title, "", *_table(header, table), ""]
    return lines


def _experts(files: Sequence[dict[str, Any]]) -> list[str]:
    if not files:
        return []
    about = "Blocks with random weights, both in f32, inputs changing with every step ([ADR 0017](adr/0017-routed-experts-are-one-op.md))."
    header, rows = expert_section(files)
    return ["## Routed experts, one block", "", about, "", *_table(header, rows), ""]


def _peers(files: Sequence[dict[str, Any]]) -> list[str]:
    results = [r for file in files for r in file["results"]]
    if not results:
        return []
    rows = [(_NAMES.get(r["name"], r["name"]), r["engine"], r["weights"], f"{r['decode_tokens_per_s']['median']:.1f}",
             f"{r['prefill_tokens_per_s']['median']:.0f}", f"{r['ours_over_this']:.2f}×") for r in results]  # fmt: skip
    header = ("model", "engine", "weights", "decode, tokens/s", "prompt, tokens/s", "ours at 50 % over this")
    return ["## Other engines, same machine, threads, prompt and number of tokens", "", *_table(header, rows), ""]


def _calibrations(files: Sequence[dict[str, Any]]) -> list[str]:
    """Memory and time over size, and what a further block takes where two depths of a model were run."""
    if not files:
        return []
    rows, slopes = [], []
    for file in files:
        rows += [_calibration(r, file["windows"]) for r in file["results"] if "peak_bytes" in r]
        whole = [r for r in file["results"] if "peak_bytes" in r]
        slopes += [_slope(one, two) for one, two in pairwise(whole) if one["model"] == two["model"]]
    header = ("model", "blocks", "file", "samples of 512 tokens", "peak memory", "profile", "time", "processor time",
              "sensitivity over a dense pass", "apply and save, processor time", "peak memory of it")  # fmt: skip
    about = f"## Calibration ({', '.join(dict.fromkeys(file['machine'] for file in files))})"
    note = "Processor time is of all cores together; where other programs ran, time says less. Sensitivity is compared by it too."
    lines = [_BEGIN, about, "", *_table(header, rows), "", note, ""]
    return [*lines, *(line for slope in slopes for line in (slope, "")), _END]


def _calibration(r: dict[str, Any], windows: int) -> tuple[str, ...]:
    """One row; what was not measured stays empty."""
    of = f"{r['blocks']} of {r['of']}" if r["blocks"] < r["of"] else f"all {r['of']}"
    dense = r.get("dense_forward_processor_seconds")
    ratio = f"{r['phases_processor']['measuring sensitivity'] / dense:.1f}×" if dense else ""
    applied = f"{r['apply_processor_seconds'] + r['save_processor_seconds']:.0f} s" if "apply_processor_seconds" in r else ""
    peak = f"{r['apply_peak_bytes'] / 1e9:.2f} GB" if "apply_peak_bytes" in r else ""
    return (f"{r['model']} shape, {r['weights']}", of, f"{r['file_bytes'] / 1e9:.2f} GB", str(windows), f"{r['peak_bytes'] / 1e9:.2f} GB",
            f"{r['profile_bytes'] / 1e6:.0f} MB", f"{r['seconds']:.0f} s", f"{r['processor_seconds']:.0f} s",
            ratio, applied, peak)  # fmt: skip


def _slope(one: dict[str, Any], two: dict[str, Any]) -> str:
    more = two["blocks"] - one["blocks"]
    memory, file, seconds = ((two[key] - one[key]) / more for key in ("peak_bytes", "file_bytes", "processor_seconds"))
    left = two["of"] - two["blocks"]
    whole = f"{(two['peak_bytes'] + left * memory) / 1e9:.1f} GB, {two['processor_seconds'] + left * seconds:.0f} s of processor time"
    share = f"{memory / 1e6:.0f} MB ({memory / file:.2f} of its bytes in the file)"
    return f"{one['model']} shape: a further block takes {share} and {seconds:.1f} s; computed for all {two['of']} blocks: {whole}."


def _only_calibration(target: Path, files: Sequence[dict[str, Any]]) -> None:
    """Write that section alone into a page that is there, at its end where it has none."""
    page = target.read_text(encoding="utf-8")
    before, _, rest = page.partition(_BEGIN)
    after = rest.partition(_END)[2].strip()
    parts = [before.rstrip(), "\n".join(_calibrations(files)), *([after] if after else [])]
    target.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    header = tuple(header)
    return [f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows)]


if __name__ == "__main__":
    main()
