"""Memory and time of calibrations: a section of docs/benchmarks.md, from the JSON of calibration.py."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markdown_table import markdown_table

_BEGIN, _END = "<!-- calibration: begin -->", "<!-- calibration: end -->"


def calibration_section(files: Sequence[dict[str, Any]]) -> list[str]:
    """Memory and time over size, and what a further block takes where two depths of a model were run."""
    if not files:
        return []
    rows, slopes = [], []
    for file in files:
        whole = [r for r in file["results"] if "peak_bytes" in r]
        rows += [_calibration(r, file["windows"]) for r in whole]
        slopes += [_slope(one, two) for one, two in pairwise(whole) if one["model"] == two["model"]]
    header = ("model", "blocks", "file", "samples of 512 tokens", "peak memory", "profile", "time", "processor time",
              "sensitivity over a dense pass", "apply and save, processor time", "peak memory of it")  # fmt: skip
    about = f"## Calibration ({', '.join(dict.fromkeys(file['machine'] for file in files))})"
    note = "Processor time is of all cores together; where other programs ran, time says less. Sensitivity is compared by it too."
    if slopes:
        note += " Profiles grow with depth up to their bound (256 MB, or 0.15 of the file): a slope between shallow models counts that too."
    lines = [_BEGIN, about, "", *markdown_table(header, rows), "", note, ""]
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
