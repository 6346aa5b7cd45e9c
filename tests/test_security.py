"""What SECURITY.md promises of all Python of the project: nothing is unpickled, no shell, no code from text, no connection.

Names in pages: scap_ov/report/test_html.py. Members of archives: scap_ov/deploy/test_archive.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted(path for room in ("scap_ov", "passes", "custom_ops") for path in (ROOT / room).rglob("*.py"))
ALL = sorted([*PRODUCT, *(p for room in ("benchmarks", "examples", "tests", ".ci", "docs") for p in (ROOT / room).rglob("*.py"))])
UNPICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
CONNECTS = {"socket", "urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "huggingface_hub"}
FORBIDDEN = {"eval", "exec", "os.system", "os.popen", "yaml.load", "torch.load", "pandas.read_pickle"}


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def imported(path: Path) -> set[str]:
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def faults(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in FORBIDDEN or keywords.get("shell", "False") != "False" or keywords.get("allow_pickle", "False") != "False":
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:100]}"
        if name.endswith(("extractall", ".extract")) and "tar" in name and "filter" not in keywords:
            yield f"{path.relative_to(ROOT)}:{node.lineno}: members of an archive may leave the folder"


def test_the_rules_see_what_they_forbid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import pickle\nfrom urllib import request\neval('1')\nrun('x', shell=True)\nnp.load(f, allow_pickle=True)\ntar.extractall(p)\n"
    )
    assert imported(bad) == {"pickle", "urllib"}
    assert len(list(faults(bad))) == 4


def test_nothing_is_unpickled() -> None:
    assert not {str(path.relative_to(ROOT)): found for path in ALL if (found := imported(path) & UNPICKLES)}


def test_no_shell_and_no_code_from_text() -> None:
    assert not [fault for path in ALL for fault in faults(path)]


def test_the_package_opens_no_connection() -> None:
    assert not {str(path.relative_to(ROOT)): found for path in PRODUCT if (found := imported(path) & CONNECTS)}
