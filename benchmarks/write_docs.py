"""Write docs/benchmarks.md from the JSON files that kernel.py, decode.py and peers.py left in a folder. Run by `make bench`, last.

python benchmarks/write_docs.py bench_results docs/benchmarks.md
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_NAMES = {"smollm2-135m": "SmolLM2-135M (real weights)", "llama-3.2-1b": "Llama-3.2-1B shape", "llama-3.1-8b": "Llama-3.1-8B shape"}


def main(argv: Sequence[str]) -> None:
    """argv: folder of results, file to write, and a remark on the circumstances if there is one."""
    if len(argv) not in (2, 3):
        raise SystemExit((__doc__ or "").strip())
    folder, target = map(Path, argv[:2])
    kernels, models, peers = (
        [json.loads(p.read_text()) for p in sorted(folder.glob(f"{kind}*.json"))] for kind in ("kernel", "decode", "peers")
    )
    if not kernels and not models:
        msg = f"{folder} holds no kernel*.json and no decode*.json; run `make bench`"
        raise SystemExit(msg)
    lines = ["# Benchmarks", "", "Written by `make bench` (benchmarks/write_docs.py) from measurements; nothing here is typed in.", ""]
    lines += _about([*kernels, *models, *peers])
    lines += [f"{remark}\n" for remark in argv[2:]]
    lines += _models(models) + _kernels(kernels) + _peers(peers)
    target.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"wrote {target}", file=sys.stderr)


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
                _ratio(model, stock, "peak_rss_bytes"),
                _ratio(model, stock, "load_s"),
            )
        )
    header = ("model", "weights", "dropped", "prompt", "decode", "tokens/s stock / ours", "prompt speed", "peak memory", "load time")
    return [*lines, *_table(header, rows), ""]


def _ratio(model: dict[str, Any], stock: dict[str, Any], key: str) -> str:
    return f"{model[key]['median'] / stock[key]['median']:.2f}×"


def _kernels(files: Sequence[dict[str, Any]]) -> list[str]:
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
                    f"{max(r['gb_s'] for r in at.values()):.1f}",
                )
            )
        title = f"## One site, {weights}, {isa}, {rows} row{'s' if rows > 1 else ''}"
        header = ("K → N", "group", "stock, µs", *(f"{s:.0%}" for s in levels), "best GB/s")
        lines += [title, "", *_table(header, table), ""]
    return lines


def _peers(files: Sequence[dict[str, Any]]) -> list[str]:
    results = [r for file in files for r in file["results"]]
    if not results:
        return []
    rows = [(_NAMES.get(r["name"], r["name"]), r["engine"], r["weights"], f"{r['decode_tokens_per_s']['median']:.1f}",
             f"{r['prefill_tokens_per_s']['median']:.0f}", f"{r['ours_over_this']:.2f}×") for r in results]  # fmt: skip
    header = ("model", "engine", "weights", "decode, tokens/s", "prompt, tokens/s", "ours at 50 % over this")
    return ["## Other engines, same machine, threads, prompt and number of tokens", "", *_table(header, rows), ""]


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    header = tuple(header)
    return [f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows)]


if __name__ == "__main__":
    main(sys.argv[1:])
