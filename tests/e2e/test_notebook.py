"""The notebooks run from a clean kernel, and are committed without output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# Less text and fewer runs than a reader wants: the cells are what is tested.
FEWER = ((r"tokens=\d+", "tokens=512"), (r"repeats=\d+", "repeats=1"))
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def read(path):
    return pytest.importorskip("nbformat").read(path, as_version=4)


def test_there_is_a_quick_start():
    assert "01_quick_start.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_output(path):
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert code
    assert not [cell.source for cell in code if cell.outputs or cell.execution_count]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_a_clean_kernel(path, tmp_path):
    from nbclient import NotebookClient

    notebook = read(path)
    for cell in notebook.cells:
        for number in FEWER:
            cell.source = re.sub(*number, cell.source)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(pictures) >= 3
