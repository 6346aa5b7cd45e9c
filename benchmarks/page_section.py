"""A part of a page that one benchmark writes, between two lines that tell which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def put_section(page: Path, lines: Sequence[str]) -> None:
    """Replace a section, or put it at the end of a page that has none.

    :param lines: of the section; the first and the last one, HTML comments, tell where it begins and ends.
    """
    before, _, rest = page.read_text(encoding="utf-8").partition(lines[0])
    after = rest.partition(lines[-1])[2].strip()
    parts = [before.rstrip(), "\n".join(lines), *([after] if after else [])]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
