"""The pages: links lead somewhere, the reference is what the parsers say, and public names explain their parameters."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import scap_ov

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PUBLIC = [getattr(scap_ov, name) for name in scap_ov.__all__ if callable(getattr(scap_ov, name))]


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"(?<!`)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http", "mailto:")):
            continue
        file, _, heading = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name} links to {target}, which is not there"
        if heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in map(anchor, headings), f"{page.name} links to {target}, and there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    """Paths in code spans that begin with a folder of the repository."""
    for path in re.findall(
        r"`((?:scap_ov|passes|custom_ops|tests|benchmarks|docs|examples|notebooks)/[\w./-]+)`", page.read_text(encoding="utf-8")
    ):
        assert (ROOT / path).exists(), f"{page.name} names {path}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_are_named_are_there(page: Path) -> None:
    """By their path, from the root or from tests/, or by the name of their file."""
    for file, test in re.findall(r"`([\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8")):
        path = ROOT / "tests" / file.removeprefix("tests/")
        found = [path] if path.is_file() else list((ROOT / "tests").rglob(file))
        assert any(f"def {test}(" in p.read_text(encoding="utf-8") for p in found), f"{page.name} names {file}::{test}, which is not there"


def loaded(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current() -> None:
    writer = loaded("write_reference")
    assert writer.PAGE.read_text(encoding="utf-8") == writer.page(), "run python docs/write_reference.py"


def test_the_site_links_between_its_pages_and_names_other_files() -> None:
    """`make docs` builds all of it; MkDocs itself checks the links between pages."""
    errors = pytest.importorskip("mkdocs.exceptions")
    site = loaded("site_pages")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="adr/0001-packed-layout.md"))
    text = "[a](../packing.md#rows) [b](../../README.md) [c](../../tests/conftest.py) [d](https://a.org) [e](#here) `[f](none)`"
    expected = "[a](../packing.md#rows) [b](../index.md) c (`tests/conftest.py`) [d](https://a.org) [e](#here) `[f](none)`"
    assert site.on_page_markdown(text, page, None, None) == expected
    with pytest.raises(errors.PluginError, match=r"links to none\.md, which is not there"):
        site.on_page_markdown("[a](none.md)", page, None, None)


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.__name__)
def test_public_names_explain_their_parameters(public: object) -> None:
    text = inspect.getdoc(public) or ""
    assert text.partition("\n")[0].endswith("."), "the first line is a sentence"
    known = inspect.signature(public).parameters.values()
    wanted = [p.name for p in known if p.kind is not p.VAR_KEYWORD and p.name not in ("core", "sequential")]
    assert [name for name in wanted if f":param {name}:" not in text and len(wanted) > 1] == []
