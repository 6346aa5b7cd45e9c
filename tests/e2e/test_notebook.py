"""The notebooks run from a clean kernel, and are committed without output.

The package of the model is found in the folder where the kernel starts: the model's first blocks, or the whole with `-m real`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from smollm2 import BLOCKS, gguf

from scap_ov.sample_models.source import PACKAGE

# Less text and fewer runs than a reader wants: the cells are what is tested.
# max_loss wants four windows of held-out text, which is the one that has a seed.
FEWER = (
    (r"tokens=\d+(?=, seed)", "tokens=1024"),
    (r"tokens=\d+(?!\d|, seed)", "tokens=512"),
    (r"repeats=\d+", "repeats=1"),
    (r"([(]|, )QUESTIONS", r"\1QUESTIONS[:1]"),
    (r"TARGETS = .*", "TARGETS = (0.5,)"),
)
PICTURES = {"01": 3, "02": 4, "03": 1, "04": 1, "05": 1}  # at least
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def read(path):
    return pytest.importorskip("nbformat").read(path, as_version=4)


@pytest.fixture(scope="module", params=[pytest.param(BLOCKS, marks=pytest.mark.slow), pytest.param(None, marks=pytest.mark.real)])
def home(request, tmp_path_factory):
    """One folder for all: each makes what it finds missing, so that the model is loaded and calibrated once."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / PACKAGE).symlink_to(gguf(request.param).parent)
    return folder


def test_there_are_five():
    assert [path.name[:2] for path in NOTEBOOKS] == sorted(PICTURES)


def test_links_between_notebooks_and_pages_lead_to_files():
    for path in NOTEBOOKS:
        prose = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_output(path):
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert code
    assert not [cell.source for cell in code if cell.outputs or cell.execution_count]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_a_clean_kernel(path, home):
    from nbclient import NotebookClient

    notebook = read(path)
    for cell in notebook.cells:
        for number in FEWER:
            cell.source = re.sub(*number, cell.source)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(home)}}).execute()
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(pictures) >= PICTURES[path.name[:2]]
