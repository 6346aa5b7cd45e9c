"""The plots of a report, each a Picture; what they are drawn from are the figures of commands, the plan and the profile."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scap_ov.report.picture import SERIES, Palette, Picture
from scap_ov.statistics.observers.histogram import bin_edges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scap_ov.plan import SitePlan
    from scap_ov.statistics.profile import SiteStatistics

Figures = Mapping[str, Any]
_READS = ("whole", "half", "dropped")
_BITS = re.compile(r"\D*(\d+)")


def speed(benchmark: Figures) -> Picture:
    """Decode speed, prompt speed, load time and memory relative to stock, which is 1."""
    wanted = (("decode_tokens_per_s", "decode speed"), ("prefill_tokens_per_s", "prompt speed"), ("load_s", "load time"),
              ("peak_rss_bytes", "peak memory"))  # fmt: skip

    def draw(figure: Figure, palette: Palette) -> None:
        axis = figure.add_subplot()
        ratios = [benchmark["model"][key]["median"] / benchmark["reference"][key]["median"] for key, _ in wanted]
        ratios[:2] = benchmark["decode_speedup"], benchmark["prefill_speedup"]
        names = [name for _, name in wanted]
        bars = axis.barh(names, ratios, color=[palette["sparse"]] * 2 + [palette["series1"]] * 2, height=0.6)
        axis.bar_label(bars, [f"{ratio:.2f}×" for ratio in ratios], padding=3)
        axis.axvline(1, color=palette["muted"], linewidth=1, linestyle="--")
        axis.set_xlim(0, max(1.1, *ratios) * 1.15)
        axis.set_xlabel("pruned / stock")
        axis.invert_yaxis()

    return Picture("speed-and-memory", "", "Medians of alternating, paired runs, relative to stock (dashed line). "
                   "For speed more is better, for time and memory less.", draw)  # fmt: skip


def curve(points: Sequence[Figures], key: str, label: str, name: str, title: str) -> Picture:
    """One figure over the share of bytes that are not read, a line for each `method` of the points."""

    def draw(figure: Figure, palette: Palette) -> None:
        axis = figure.add_subplot()
        for colour, method in zip(_endless(palette), dict.fromkeys(p.get("method", "") for p in points), strict=False):
            own = sorted((p for p in points if p.get("method", "") == method), key=lambda p: p["sparsity"])
            axis.plot([p["sparsity"] for p in own], [p[key] for p in own], marker="o", markersize=4, color=colour, label=method or None)
        if key == "kl_divergence":
            _logarithmic(axis, [p[key] for p in points])
        axis.set(xlabel="weight bytes not read", ylabel=label)
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        axis.grid(axis="y")
        if any(p.get("method") for p in points):
            axis.legend()

    return Picture(name, title, "Measured; each point is one operating point.", draw)


def pareto(points: Sequence[Figures], x: str, label: str) -> Picture:
    """KL divergence over `x`, one line per method; points are rows of `scap-ov compare`."""

    def draw(figure: Figure, palette: Palette) -> None:
        axis = figure.add_subplot()
        for colour, method in zip(_endless(palette), dict.fromkeys(p["method"] for p in points), strict=False):
            own = sorted((p for p in points if p["method"] == method), key=lambda p: p[x])
            axis.plot([p[x] for p in own], [p["kl_divergence"] for p in own], marker="o", markersize=4, color=colour, label=method)
        _logarithmic(axis, [p["kl_divergence"] for p in points])
        axis.set(xlabel=label, ylabel="KL divergence, nats/token")
        axis.legend()
        axis.grid(axis="y")

    return Picture(
        f"loss-over-{x.replace('_', '-')}", f"Loss over {label}", "KL divergence from the reference; lower is better.", draw, 250
    )


def bytes_of_kind(kind: str, sites: Sequence[Figures]) -> Picture:
    """Stacked megabytes of each site of one kind over the blocks: of channels that are read whole, read by half, and dropped."""
    ordered = sorted(sites, key=lambda site: site["block"])
    size = np.array([weight_megabytes(site) for site in ordered])
    shares = [reads_of(site) for site in ordered]

    def draw(figure: Figure, palette: Palette) -> None:
        axis = figure.add_subplot()
        base = np.zeros(len(ordered))
        places = np.arange(len(ordered))
        for what in _READS:
            part = size * np.array([share[what] for share in shares])
            axis.bar(places, part, 0.85, base, color=palette[what])
            base += part
        step = max(1, math.ceil(len(ordered) / 8))
        axis.set_xticks(places[::step], [str(site["block"]) if site["block"] >= 0 else site["name"] for site in ordered][::step])
        axis.set(xlabel="block", ylabel="MB")

    total, unread = float(size.sum()), float((size * [share["dropped"] + share["half"] / 2 for share in shares]).sum())
    note = f"{total:.3g} MB in {len(ordered)} sites; {unread / total if total else 0:.0%} of it is not read per token."
    return Picture(f"bytes-{_slug(kind)}", kind, note, draw, 180)


def input_histogram(name: str, statistics: SiteStatistics, entry: SitePlan | None, note: str) -> Picture:
    """Distribution of a site's input, coloured by what is read for a value, and the centre.

    :param statistics: of the profile.
    :param entry: centre and thresholds; None where the site stayed stock, or they are not known.
    """
    edges = np.asarray(bin_edges(), np.float64)
    counts = np.asarray(statistics.histogram, np.float64)
    cumulative = np.concatenate([[0.0], np.cumsum(counts)]) / max(counts.sum(), 1)
    low, high = (float(edges[min(int(np.searchsorted(cumulative, q)), len(edges) - 1)]) for q in (0.01, 0.99))
    centre, dropped, half = _bands(entry)
    low, high = (low, high) if high > low else (-1.0, 1.0)
    borders = [centre + sign * limit for limit in (dropped, half) for sign in (-1, 1) if low < centre + sign * limit < high]
    grid = np.unique(np.concatenate([np.linspace(low, high, 61), borders]))
    density = np.diff(np.interp(grid, edges, cumulative)) / np.diff(grid)
    distance = np.abs((grid[1:] + grid[:-1]) / 2 - centre)

    def draw(figure: Figure, palette: Palette) -> None:
        axis = figure.add_subplot()
        for what, here in (("dropped", distance <= dropped), ("half", (dropped < distance) & (distance <= half)),
                           ("whole", distance > max(dropped, half))):  # fmt: skip
            if here.any():
                axis.stairs(np.where(here, density, 0), grid, fill=True, color=palette[what])
        if entry is not None:
            axis.axvline(centre, color=palette["ink"], linewidth=1)
        axis.set(yticks=[], xlim=(low, high))
        axis.spines["left"].set_visible(False)

    return Picture(f"input-{_slug(name)}", name, note, draw, 140)


def _bands(entry: SitePlan | None) -> tuple[float, float, float]:
    """Centre, and the distances from it up to which a value is dropped and read by half; means over channels, negative for never."""
    if entry is None:
        return 0.0, -1.0, -1.0
    whole = -1.0 if entry.whole_threshold is None else float(np.mean(entry.whole_threshold))
    return float(np.mean(entry.center)), float(np.mean(entry.threshold)), whole


def over_tokens(positions: Sequence[Figures]) -> Picture:
    """Share of the weight bytes that are not read over the position in the text: mean, and the middle 80 % of the tokens."""
    x = [p["position"] for p in positions]

    def draw(figure: Figure, palette: Palette) -> None:
        axis = figure.add_subplot()
        axis.fill_between(x, [p["low"] for p in positions], [p["high"] for p in positions], color=palette["whole"], alpha=0.25, linewidth=0)
        axis.plot(x, [p["mean"] for p in positions], color=palette["whole"], marker="." if len(x) < 3 else None)
        axis.set(xlabel="position of the token in its window", ylabel="bytes not read", ylim=(0, 1))
        axis.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
        axis.grid(axis="y")

    return Picture("sparsity-over-tokens", "", "Mean, and the range of the middle 80 % of the tokens.", draw)


def weight_megabytes(site: Figures) -> float:
    """Of the weights that a token reads of a site when nothing is skipped, from its description in a summary."""
    bits = _BITS.match(site["weights"])
    outputs = sum(site["out_features"]) * max(site.get("experts_per_token", 0), 1)
    return site["in_features"] * outputs * (int(bits[1]) if bits else 8) / 8e6


def reads_of(site: Figures) -> dict[str, float]:
    """Planned shares of the channels that are `dropped`, read by `half`, and read `whole`; all whole where the site stayed stock."""
    if site["state"] == "stock":
        return {"dropped": 0.0, "half": 0.0, "whole": 1.0}
    dropped, half = float(site.get("dropped", site["planned_sparsity"])), float(site.get("half", 0.0))
    return {"dropped": dropped, "half": half, "whole": 1 - dropped - half}


def _logarithmic(axis: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers, where all values are above 0 and differ."""
    if min(values) <= 0 or max(values) < 2 * min(values):
        return
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axis.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "25" else "")


def _endless(palette: Palette) -> list[str]:
    return [palette[name] for name in SERIES * 8]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "site"
