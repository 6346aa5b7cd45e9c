"""The plot of docs/quality.md: KL over sparsity, and over bytes with what is best at each size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Points = Mapping[tuple[str, float], Mapping[str, Any]]
_FORMS = {"f16": ("f16", "-", "o"), "i8": ("int8", "--", "s"), "i4": ("int4", ":", "^")}  # name, line, marker
_LEAST = 1e-3  # nats: the dense models that start the axis


def plot(found: Mapping[str, Points], rivals: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """KL over measured sparsity of int8, f16 where that was not measured; and KL over bytes, every method on every weight form.

    :param found: by weight form, then by (method, asked sparsity).
    :param rivals: models that were quantised harder, by key.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.2))
    methods = list(dict.fromkeys(m for points in found.values() for m, _ in points if m != "dense" and not m.endswith("ffn")))
    colours = {method: f"C{i}" for i, method in enumerate(methods)}
    form = "i8" if any(method == "graded" for method, _ in found.get("i8", {})) else "f16"
    _curves(left, found[form], "sparsity", 1.0, colours, _FORMS[form])
    name = _FORMS[form][0]
    left.set(xlabel="share of the block weights' bytes not read", ylabel="KL to dense f16, nats", yscale="log", title=f"{name} weights")
    for form, style in _FORMS.items():
        points = found.get(form, {})
        _curves(right, points, "bytes", 1e-6, colours, style)
        if dense := points.get(("dense", 0.0)):
            at = (dense["bytes"] / 1e6, max(dense["kl"], _LEAST))
            right.plot(*at, "k*", markersize=11)
            right.annotate(f"dense {style[0]}", at, textcoords="offset points", xytext=(-8, 9), ha="right", fontsize=8)
    for key, p in rivals.items():
        at = (p["bytes"] / 1e6, max(p["kl"], _LEAST))
        right.plot(*at, "kx", markersize=7)
        above = all(other["kl"] <= p["kl"] for other in rivals.values() if other["bytes"] == p["bytes"])
        right.annotate(key.removeprefix("rival "), at, textcoords="offset points", xytext=(6, 3 if above else -8), fontsize=6)
    everything = [*(p for points in found.values() for p in points.values()), *rivals.values()]
    front = _front([(p["bytes"] / 1e6, max(p["kl"], _LEAST)) for p in everything])
    right.step(*zip(*front, strict=True), where="post", color="0.75", linewidth=4, zorder=0, label="best at its size")
    right.set(xlabel="MB of weights per token", yscale="log", title="over bytes, every weight form")
    for axis in (left, right):
        axis.legend(fontsize=6)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that nothing smaller beats, by size."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept


def _curves(axis: Any, points: Points, x: str, factor: float, colours: Mapping[str, str], style: tuple[str, str, str]) -> None:
    name, line, marker = style
    for method, colour in colours.items():
        curve = sorted((p[x] * factor, p["kl"]) for (m, _), p in points.items() if m == method)
        if curve:
            axis.plot(*zip(*curve, strict=True), line, marker=marker, color=colour, label=f"{name} {method}", markersize=4)
