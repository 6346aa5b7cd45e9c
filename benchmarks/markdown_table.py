"""Tables of the pages that benchmarks write."""

from __future__ import annotations

from collections.abc import Iterable


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a table, the header first."""
    header = tuple(header)
    return [f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows)]
