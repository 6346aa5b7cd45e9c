"""What we want at least, or at most, beside the worst case that was measured: the first table of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from experts_page import expert_targets
from markdown_table import markdown_table

_BYTES = {"i4": 0.5, "u4": 0.5, "i8": 1.0, "u8": 1.0, "f16": 2.0}
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


def target_section(models: Sequence[dict[str, Any]], kernels: Sequence[dict[str, Any]], experts: Sequence[dict[str, Any]]) -> list[str]:
    """What was wanted beside what was measured.

    :param models: files of decode.py.
    :param kernels: of kernel.py.
    :param experts: of experts.py.
    """
    table = _Targets()
    sites = [r for file in kernels for r in file["results"] if r["k"] * r["n"] * _BYTES[r["weights"]] > _LARGE]
    for isa in dict.fromkeys(r["implementation"] for r in sites):
        _add_sites(table, isa, [r for r in sites if r["implementation"] == isa])
    _add_models(table, [r for file in models for r in file["results"]])
    for what, least, found, at_most in expert_targets(experts):
        table.add(what, least, found, at_most=at_most)
    header = ("what", "wanted", "worst measured", "cases", "met")
    more = "What limits the cases that are missed, and what was tried: [ADR 0011](adr/0011-what-limits-the-gemv.md)."
    return ["## Targets", "", *markdown_table(header, table.rows), "", more, ""]


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
        table.add(f"Llama-3.2-1B shape, i4, {what}", 0.75, [ratio(r["model"], r["reference"], key) for r in ratios], at_most=True)


def ratio(model: dict[str, Any], stock: dict[str, Any], key: str) -> float:
    """Of two medians."""
    return float(model[key]["median"] / stock[key]["median"])
