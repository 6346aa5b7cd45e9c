"""Write docs/benchmarks.md, and README's table of gains, from the JSON that kernel.py, decode.py, experts.py and peers.py left in a folder.

Run by `make bench`, last:

    python benchmarks/write_docs.py bench_results docs/benchmarks.md --readme README.md
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibration_page import calibration_section
from experts_page import expert_section
from markdown_table import markdown_table
from page_section import put_section
from targets_page import ratio, target_section

_NAMES = {
    "smollm2-135m": "SmolLM2-135M (real weights)",
    "llama-3.2-1b": "Llama-3.2-1B shape",
    "llama-3.1-8b": "Llama-3.1-8B shape",
    "qwen3-30b-a3b": "Qwen3-30B-A3B shape",
}
_HEAD = "Written by `make bench` (benchmarks/write_docs.py) from measurements. Only remarks (`--remark`) are given by hand."
_FEW_ROWS = 8  # more are bound by arithmetic, not by bytes
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
    parser.add_argument("--remark", action="append", default=[], help="on the circumstances, for the head of the page or of --only experts")
    parser.add_argument("--only", choices=("calibration", "experts"), help="write that section of the page alone, from its JSON")
    args = parser.parse_args()
    kernels, models, experts, peers, calibrations = (
        [json.loads(p.read_text()) for p in sorted(args.results.glob(f"{kind}*.json"))]
        for kind in ("kernel", "decode", "experts", "peers", "calibration")
    )
    if args.only:
        section = calibration_section(calibrations) if args.only == "calibration" else expert_section(experts, args.remark)
        if not section:
            msg = f"{args.results} holds no {args.only}*.json"
            raise SystemExit(msg)
        put_section(args.target, section)
        return
    if not kernels and not models:
        msg = f"{args.results} holds no kernel*.json and no decode*.json; run `make bench`"
        raise SystemExit(msg)
    lines = ["# Benchmarks", "", _HEAD, ""]
    lines += _about([*kernels, *models, *experts, *peers])
    lines += [f"{remark}\n" for remark in (_HINT, *args.remark)]
    bandwidth = max((file["read_bandwidth_gb_s"] for file in kernels), default=0.0)
    lines += target_section(models, kernels, experts) + _models(models) + expert_section(experts) + [""] + _kernels(kernels, bandwidth)
    lines += _peers(peers) + calibration_section(calibrations)
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
            *([ratio(r["model"], r["reference"], key) for r in own] for key in ("peak_rss_bytes", "load_s")),
        )
        rows.append((f"{_NAMES.get(name, name)}, {weights}", prompts, *(" / ".join(f"{v:.2f}×" for v in cell) for cell in cells)))
    header = ("model, weights", "prompt, tokens", "decode speed", "prompt speed", "peak memory", "load time")
    about = f"{', '.join(dict.fromkeys(file['machine'] for file in files))}:"
    table = "\n".join(["", about, "", *markdown_table(header, rows), ""])
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
                f"{ratio(model, stock, 'peak_rss_bytes'):.2f}×",
                f"{ratio(model, stock, 'load_s'):.2f}×",
            )
        )
    header = ("model", "weights", "dropped", "prompt", "decode", "tokens/s stock / ours", "prompt speed", "peak memory", "load time")
    return [*lines, *markdown_table(header, rows), ""]


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
        lines += [title, "", *markdown_table(header, table), ""]
    return lines


def _peers(files: Sequence[dict[str, Any]]) -> list[str]:
    results = [r for file in files for r in file["results"]]
    if not results:
        return []
    rows = [(_NAMES.get(r["name"], r["name"]), r["engine"], r["weights"], f"{r['decode_tokens_per_s']['median']:.1f}",
             f"{r['prefill_tokens_per_s']['median']:.0f}", f"{r['ours_over_this']:.2f}×") for r in results]  # fmt: skip
    header = ("model", "engine", "weights", "decode, tokens/s", "prompt, tokens/s", "ours at 50 % over this")
    return ["## Other engines, same machine, threads, prompt and number of tokens", "", *markdown_table(header, rows), ""]


if __name__ == "__main__":
    main()
