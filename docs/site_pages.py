"""MkDocs hook: README.md and CHANGELOG.md as pages of the site, and links to files of the repository as their names.

Links between pages are checked by MkDocs (`--strict`), links to other files here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OURS = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}  # outside of docs/, and their names in the site
_LINK = re.compile(r"(?<!`)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Instructions and decisions as sections in the order of their names, and pages that mkdocs.yml does not name behind them."""
    pages = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
    named = str(config.nav)
    config.nav += [{"Adding a thing": [page for page in pages if page.startswith("adding/")]},
                   {"Decisions": [page for page in pages if page.startswith("adr/")]}]  # fmt: skip
    if others := [page for page in pages if "/" not in page and f"'{page}'" not in named]:
        config.nav.append({"More": others})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside of docs/."""
    for source, name in OURS.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them.

    :raises PluginError: a link names a file that is not there.
    """
    del config, files
    name = page.file.src_uri
    outside = next((source for source, ours in OURS.items() if ours == name), None)
    home = ROOT if outside else (ROOT / "docs" / name).parent

    def relinked(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = Path(os.path.normpath(home / target))
        inside = path.relative_to(ROOT) if path.is_relative_to(ROOT) else None
        if inside is None or not path.exists():
            msg = f"{name} links to {target}, which is not there"
            raise PluginError(msg)
        if str(inside) in OURS:
            return f"[{text}]({os.path.relpath(OURS[str(inside)], Path(name).parent)}{anchor})"
        if inside.parts[0] == "docs" and path.is_file():
            return f"[{text}]({os.path.relpath(inside.relative_to('docs'), Path(name).parent)}{anchor})"
        return f"{text} (`{inside}`)" if str(inside) not in text else text

    return _LINK.sub(relinked, markdown)
