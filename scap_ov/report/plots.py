"""Plots of a report as base64 PNG, with matplotlib (extra `report`)."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scap_ov.optional import optional
from scap_ov.plan import SitePlan

if TYPE_CHECKING:
    from scap_ov.plan import SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile, SiteStatistics

_COLOURS = {"qkv": "#4477aa", "o": "#66ccee", "up": "#228833", "down": "#ccbb44", "lm_head": "#aa3377", "other": "#888888"}


def histograms(plan: SparsityPlan, profile: CalibrationProfile, names: Sequence[str]) -> str:
    """Distribution of each site's input, with its centre and the band that is dropped.

    :return: `data:` URI of a PNG.
    """
    plt = _matplotlib()
    columns = 4
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(14, 2.6 * lines), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        _histogram(axis, name, profile.statistics[name], plan.entries.get(name))
    return _png(figure)


def sparsity_by_block(plan: SparsityPlan, measured: Mapping[str, float] | None) -> str:
    """Planned sparsity (lines) and measured sparsity (dots) of every site over the depth of the model."""
    plt = _matplotlib()
    figure, axis = plt.subplots(figsize=(14, 3.6))
    for kind in dict.fromkeys(site.kind.value for site in plan.sites):
        sites = [s for s in plan.sites if s.kind.value == kind]
        planned = [plan.entries[s.name].expected_sparsity if s.name in plan.entries else 0.0 for s in sites]
        axis.plot([s.block for s in sites], planned, color=_COLOURS[kind], marker=None if len(sites) > 1 else "_", label=f"{kind}, planned")
        if measured:
            seen = [s for s in sites if s.name in measured]
            axis.plot(
                [s.block for s in seen],
                [measured[s.name] for s in seen],
                "o",
                color=_COLOURS[kind],
                markersize=4,
                label=f"{kind}, measured",
            )
    axis.set(xlabel="block", ylabel="share of inputs dropped", ylim=(0, 1))
    axis.legend(ncol=4, fontsize=8)
    return _png(figure)


def speed(benchmark: Mapping[str, Any]) -> str:
    """Decode speed, prompt speed, load time and memory, stock beside sparse, as bars with the range of the runs."""
    plt = _matplotlib()
    wanted = (("decode_tokens_per_s", "decode, tokens/s", 1), ("prefill_tokens_per_s", "prompt, tokens/s", 1), ("load_s", "load, s", 1),
              ("peak_rss_bytes", "peak memory, MB", 1e-6))  # fmt: skip
    figure, axes = plt.subplots(1, len(wanted), figsize=(14, 3.2))
    for axis, (key, title, factor) in zip(axes, wanted, strict=True):
        spreads = [benchmark[side][key] for side in ("reference", "model")]
        heights = np.array([s["median"] for s in spreads]) * factor
        errors = np.abs(np.array([[s["median"] - s["min"] for s in spreads], [s["max"] - s["median"] for s in spreads]])) * factor
        axis.bar(["stock", "sparse"], heights, yerr=errors, color=["#bbbbbb", "#228833"], capsize=4)
        axis.set_title(title, fontsize=10)
    return _png(figure)


def pareto(points: Sequence[Mapping[str, Any]], x: str, label: str) -> str:
    """KL divergence over `x`, one line per method; points are rows of `scap-ov compare`."""
    plt = _matplotlib()
    figure, axis = plt.subplots(figsize=(9, 5))
    for method in dict.fromkeys(p["method"] for p in points):
        own = sorted((p for p in points if p["method"] == method), key=lambda p: p[x])
        axis.plot([p[x] for p in own], [p["kl_divergence"] for p in own], marker="o", label=method)
    if all(p["kl_divergence"] > 0 for p in points):
        axis.set_yscale("log")
    axis.set(xlabel=label, ylabel="KL divergence from the reference, nats/token")
    axis.legend()
    axis.grid(alpha=0.3)
    return _png(figure)


def _histogram(axis: Any, name: str, statistics: SiteStatistics, entry: SitePlan | None) -> None:
    from scap_ov.statistics.observers.histogram import bin_edges

    edges = np.asarray(bin_edges(), np.float64)
    counts = np.asarray(statistics.histogram, np.float64)
    cumulative = np.concatenate([[0.0], np.cumsum(counts)]) / max(counts.sum(), 1)
    low, high = (float(edges[min(int(np.searchsorted(cumulative, q)), len(edges) - 1)]) for q in (0.01, 0.99))
    grid = np.linspace(low, high, 81) if high > low else np.linspace(-1, 1, 81)
    density = np.diff(np.interp(grid, edges, cumulative)) / np.diff(grid)
    axis.fill_between((grid[1:] + grid[:-1]) / 2, density, step="mid", color="#4477aa", alpha=0.7)
    axis.set_title(name if entry is None else f"{name}: {entry.expected_sparsity:.0%}", fontsize=9)
    axis.set_yticks([])
    axis.tick_params(labelsize=7)
    if entry is not None and float(np.max(entry.threshold)) >= 0:
        center, threshold = float(np.mean(entry.center)), float(np.mean(entry.threshold))
        axis.axvspan(center - threshold, center + threshold, color="#cc3311", alpha=0.15)
        axis.axvline(center, color="#cc3311", linewidth=1)
        axis.set_xlim(float(grid[0]), float(grid[-1]))


def _matplotlib() -> Any:
    optional("matplotlib", "plots need", "'scap_ov[report]'").use("Agg")
    return optional("matplotlib.pyplot", "plots need", "'scap_ov[report]'")


def _png(figure: Any) -> str:
    plt = _matplotlib()
    buffer = io.BytesIO()
    figure.tight_layout()
    figure.savefig(buffer, format="png", dpi=90)
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
