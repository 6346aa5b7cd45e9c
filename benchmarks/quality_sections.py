"""Sections of docs/quality.md beside the main model's curves, and the tables of all. For quality_page.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Kept = Mapping[str, Any]
BASE = "scap"


def row(cells: list[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join([row(header), row(["---"] * len(header)), *map(row, rows)])


def label_of(method: str) -> str:
    """A method as the page calls it."""
    name, _, extra = method.partition("+")
    return name + {"compensation": ", compensation learned", "lm_head": ", output projection too"}.get(extra, "")


def at_sparsity(curve: list[tuple[float, float]], sparsity: float) -> float | None:
    """KL of a method at another sparsity: the logarithm, linear between its measured points and beyond the nearest two.

    :param curve: (measured sparsity, KL).
    :return: None with fewer than two points, or further than three points of sparsity from any.
    """
    if len(curve) < 2 or min(abs(s - sparsity) for s, _ in curve) > 0.03:
        return None
    near = sorted(curve, key=lambda p: abs(p[0] - sparsity))[:2]
    (s0, k0), (s1, k1) = sorted(near)
    return float(np.exp(np.log(k0) + (np.log(k1) - np.log(k0)) * (sparsity - s0) / (s1 - s0)))


def tasks(kept: Kept) -> str:
    """Multiple choice."""
    found = {tuple(key.split()[1:]): value for key, value in kept.items() if key.startswith("task ")}
    if not found:
        return ""
    files = list(dict.fromkeys(file for file, _, _ in found))
    rows = []
    for method, target in dict.fromkeys((m, t) for _, m, t in found):
        cells = []
        for file in files:
            r = found.get((file, method, target))
            cells += [f"{r['accuracy']:.1%} ± {r['accuracy_standard_error']:.1%}", f"{r['log_likelihood']:.2f}"] if r else ["", ""]
        rows.append([label_of(method), "" if method == "dense" else f"{float(target):.0%}", *cells])
    header = ["method", "asked", *(text for file in files for text in (f"{file}, accuracy", "nats of the right answer"))]
    counts = ", ".join(f"{next(r['questions'] for (f, _, _), r in found.items() if f == file)} of {file}" for file in files)
    return f"""## Multiple choice, f16 weights

The likeliest choice by summed log-probability; questions: {counts}. ± is one standard error of the accuracy: on so few questions only large
differences show, and the mean log-probability of the right answer tells more.

{table(header, rows)}"""


def minilm(kept: Kept) -> str:
    """Methods on an encoder."""
    if "minilm" not in kept:
        return ""
    base = [(row["measured"], row["loss"]) for row in kept["minilm"] if row["method"] == BASE]
    rows = []
    for row in sorted(kept["minilm"], key=lambda r: (r["target"], r["loss"])):
        other = at_sparsity(base, row["measured"])
        rows.append([row["method"], f"{row['target']:.0%}", f"{row['measured']:.1%}", f"{row['loss']:.4f}",
                     f"{row['loss'] / other:.2f}" if other else ""])  # fmt: skip
    return f"""## An encoder: sentence embeddings of all-MiniLM-L6-v2

Mean of 1 − cosine between sparse and dense embedding, {kept["minilm"][0]["sentences"]} sentences of Python's documentation.

{table(["method", "asked", "measured", "1 − cosine", "of uniform `scap` there"], rows)}"""
