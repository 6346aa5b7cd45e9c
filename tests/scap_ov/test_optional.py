"""Why a package cannot be imported is told as it is."""

from __future__ import annotations

import sys

import pytest

from scap_ov.errors import MissingDependencyError
from scap_ov.optional import optional


def package(folder, monkeypatch, text):
    (folder / "made_up").mkdir()
    (folder / "made_up" / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "made_up", raising=False)


def test_a_package_that_is_there(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, "VALUE = 3")
    assert optional("made_up", "this needs", "made-up").VALUE == 3
    monkeypatch.delitem(sys.modules, "made_up")


def test_a_package_that_is_not_there():
    with pytest.raises(MissingDependencyError, match=r"^this needs the package nowhere, which is not installed; pip install no-where$"):
        optional("nowhere.inside", "this needs", "no-where")


@pytest.mark.parametrize(
    ("text", "told"),
    [("raise ImportError('libx.so.9: undefined symbol: f')", "cannot be imported (libx.so.9: undefined symbol: f)"),
     ("raise OSError('cannot open shared object')", "cannot be imported (cannot open shared object)"),
     ("raise RuntimeError('first\\nsecond\\n\\n')", "cannot be imported (second)"),
     ("import nowhere_to_be_found", "needs nowhere_to_be_found, which is not; pip install made-up")],
)  # fmt: skip
def test_a_package_that_is_there_and_broken(tmp_path, monkeypatch, text, told):
    package(tmp_path, monkeypatch, text)
    with pytest.raises(MissingDependencyError) as e:
        optional("made_up", "this needs", "made-up")
    assert "which is installed" in str(e.value)
    assert told in str(e.value)
