"""The part of docs/benchmarks.md on routed experts, from the JSON files that experts.py wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markdown_table import markdown_table

_BEGIN, _END = "<!-- experts: begin -->", "<!-- experts: end -->"
_FEW = 8  # rows up to which the bytes bound the time


def way(result: dict[str, Any]) -> str:
    """How bytes are left unread; files of before had one way."""
    return str(result.get("way", "channels"))


def expert_targets(files: Sequence[dict[str, Any]]) -> list[tuple[str, float, list[float], bool]]:
    """What is wanted, at least (or, where the last is true, at most), and what was measured."""
    results = [r for file in files for r in file["results"]]
    timed, loaded = [r for r in results if "rows" in r], [r for r in results if "memory_ratio" in r]

    def speedups(sparsity: float, low: int, high: int) -> list[float]:
        return [r["speedup"] for r in timed if r["sparsity"] == sparsity and way(r) == "channels" and low <= r["rows"] <= high]

    return [
        ("block of experts, decode, nothing dropped", 1.7, speedups(0.0, 1, 1), False),
        ("block of experts, decode, 50%", 2.8, speedups(0.5, 1, 1), False),
        ("block of experts, 2 to 8 sequences in a step", 1.5, speedups(0.0, 2, _FEW), False),
        ("block of experts, prompt of 32 tokens", 1.5, speedups(0.0, 32, 32), False),
        ("block of experts, prompt of 512 tokens", 4.0, speedups(0.0, 512, 512), False),
        ("experts, resident memory", 0.6, [r["memory_ratio"] for r in loaded], True),
        ("experts, load time", 0.5, [r["load_ratio"] for r in loaded], True),
    ]


def expert_section(files: Sequence[dict[str, Any]], remarks: Sequence[str] = ()) -> list[str]:
    """The section, a line of comment before and behind it; nothing where nothing was measured.

    :param remarks: on the circumstances, by hand.
    """
    if not files:
        return []
    title = f"## Routed experts, one block ({', '.join(dict.fromkeys(file['machine'] for file in files))})"
    about = "Blocks with random weights, both in f32, inputs changing with every step ([ADR 0017](adr/0017-routed-experts-are-one-op.md))."
    header, rows = _table(files)
    return [_BEGIN, title, "", " ".join((about, *remarks)), "", *markdown_table(header, rows), "", _END]


def _table(files: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the table: one row a model, weights and number of tokens."""
    results = [r for file in files for r in file["results"]]
    timed = [r for r in results if "rows" in r]
    levels = sorted({(way(r), r["sparsity"]) for r in timed})
    rows = []
    for name, weights, count in dict.fromkeys((r["name"], r["weights"], r["rows"]) for r in timed):
        own = [r for r in timed if (r["name"], r["weights"], r["rows"]) == (name, weights, count)]
        at = {(way(r), r["sparsity"]): r for r in own}
        first = next(iter(at.values()))
        half = at.get(("channels", 0.5), {})
        limit = f"{half['limit']:.2f}×" if "limit" in half else ""
        memory = next((r for r in results if r["name"] == name and r["weights"] == weights and "memory_ratio" in r), None)
        more = (f"{memory['memory_ratio']:.2f}×", f"{memory['load_ratio']:.2f}×") if memory and count == 1 else ("", "")
        speedups = (f"{at[level]['speedup']:.2f}×" if level in at else "" for level in levels)
        rows.append((name, weights, str(count), f"{first['stock_ms']:.2f}", *speedups, limit, *more))
    named = {"channels": "", "grades": " by grades", "experts": " of experts"}
    shares = [f"{level:.0%}{named[how]}" for how, level in levels]
    header = ("shape", "weights", "tokens in a step", "stock, ms a block", *shares, "limit at 50%", "resident memory", "load time")
    return header, rows
