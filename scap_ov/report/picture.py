"""A plot as inline SVG, whose colours are the page's CSS variables, or as a PNG. Drawn with matplotlib (extra `report`).

A picture is drawn 360 units wide, as wide as the text of a phone, so that its labels have the size of the text there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scap_ov.atomic import new_file
from scap_ov.optional import optional

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.figure import Figure

WIDTH, HEIGHT = 360, 210
# Colours by what they stand for, the page's variables of the same names: each theme has the lightness that its background needs.
LIGHT = {"ink": "#1f2328", "muted": "#59636e", "grid": "#d1d9e0", "paper": "#ffffff", "dropped": "#c2410c", "half": "#b7791f",
         "whole": "#0b6bcb", "stock": "#8c959f", "sparse": "#1a7f37", "centre": "#c2410c", "series1": "#0b6bcb", "series2": "#c2410c",
         "series3": "#1a7f37", "series4": "#8250df", "series5": "#b7791f", "series6": "#cf222e"}  # fmt: skip
DARK = {"ink": "#e6edf3", "muted": "#9198a1", "grid": "#3d444d", "paper": "#0d1117", "dropped": "#f0883e", "half": "#e3b341",
        "whole": "#58a6ff", "stock": "#848d97", "sparse": "#3fb950", "centre": "#f0883e", "series1": "#58a6ff", "series2": "#f0883e",
        "series3": "#3fb950", "series4": "#bc8cff", "series5": "#e3b341", "series6": "#ff7b72"}  # fmt: skip
SERIES = tuple(name for name in LIGHT if name.startswith("series"))
# What matplotlib is told in place of a variable, and what its SVG holds then.
_TOKENS = {name: f"#0102{number:02x}" for number, name in enumerate(LIGHT)}

Palette = dict[str, str]


@dataclass(frozen=True)
class Picture:
    """One plot.

    :param name: of the PNG file, letters, digits and dashes.
    :param title: plain text.
    :param note: what it shows, in a sentence.
    :param draw: draws on a figure of matplotlib in the colours of a palette.
    :param height: in units of which the width has 360.
    """

    name: str
    title: str
    note: str
    draw: Callable[[Figure, Palette], None]
    height: int = HEIGHT

    def svg(self) -> str:
        """An <svg> element without a size of its own, for the page to scale and to colour.

        :raises MissingDependencyError: matplotlib is not installed.
        """
        import io

        buffer = io.StringIO()
        with _style(_TOKENS, self.name):
            self._figure(_TOKENS).savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        return _inline(buffer.getvalue())

    def save_png(self, folder: Path) -> Path:
        """Write it at three pixels a unit, on white.

        :return: the file.
        :raises OutputError: it cannot be written.
        """
        path = folder / f"{self.name}.png"
        with _style(LIGHT, self.name), new_file(path) as part:
            self._figure(LIGHT).savefig(part, format="png", dpi=72 * 3, facecolor=LIGHT["paper"])
        return path

    def _figure(self, palette: Palette) -> Figure:
        figure = optional("matplotlib.figure", "plots need", "'scap_ov[report]'").Figure(figsize=(WIDTH / 72, self.height / 72), dpi=72,
                                                                                        layout="constrained")  # fmt: skip
        self.draw(figure, palette)
        return figure


def css_variables(palette: Palette) -> str:
    """`--ink:#…;--muted:#…` for a style sheet."""
    return ";".join(f"--{name}:{value}" for name, value in palette.items())


def _style(palette: Palette, salt: str) -> AbstractContextManager[None]:
    ink, muted = palette["ink"], palette["muted"]
    return optional("matplotlib", "plots need", "'scap_ov[report]'").rc_context({
        "svg.fonttype": "none", "svg.hashsalt": salt, "text.parse_math": False, "font.family": "sans-serif", "font.size": 11,
        "axes.titlesize": 11, "axes.labelsize": 11, "xtick.labelsize": 10, "ytick.labelsize": 10, "legend.fontsize": 10,
        "text.color": ink, "axes.labelcolor": ink, "axes.titlecolor": ink, "xtick.color": muted, "ytick.color": muted,
        "axes.edgecolor": palette["grid"], "grid.color": palette["grid"], "axes.spines.top": False, "axes.spines.right": False,
        "axes.facecolor": "none", "legend.frameon": False, "lines.linewidth": 1.6,
    })  # fmt: skip


def _inline(svg: str) -> str:
    """Matplotlib's file as an element of a page: no prologue, no size, no ids that a second picture repeats, variables for colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", svg, flags=re.DOTALL)
    head, _, rest = svg.partition(">")
    view = re.search(r'viewBox="[^"]*"', head)
    rest = re.sub(r' id="[A-Za-z.]+\w*_\d+"', "", rest).replace("xlink:href", "href")
    rest = re.sub(r"font-family: [^;\"]*;?|(?<=font): (\S+) [^;\"]*", lambda m: f"-size: {m[1]}" if m[1] else "", rest)
    for name, token in _TOKENS.items():
        rest = rest.replace(token, f"var(--{name})")
    rest = re.sub(r"\s*\n\s*", "\n", rest)
    return f'<svg {view.group() if view else ""} aria-hidden="true">{rest.strip()}'
