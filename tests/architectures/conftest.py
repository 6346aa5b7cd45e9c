"""Exports of the registry, made once for a session in processes of their own; models of them, compressed as optimum-cli does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import openvino as ov
import pytest
from architectures.rows import FAMILIES, ROWS, Row

PINNED = "transformers-5.0"  # folder in the venv that `make` puts an older release in, for rows that need it


def pytest_configure(config):
    """Markers that write_coverage.py makes docs/coverage.md of."""
    config.addinivalue_line(
        "markers", "covers(table, row, no): the row of docs/coverage.md that a test answers for; `no` is why it is a no"
    )
    config.addinivalue_line("markers", "covers_row(check): the column of docs/coverage.md that a test over the registry fills")


@pytest.fixture(autouse=True)
def noted(request, record_property):
    """Write a test's row into the report that --junitxml makes."""
    for mark in request.node.iter_markers("covers"):
        record_property("covers", "|".join((*mark.args, "works", mark.kwargs.get("no", ""))))
    for mark in request.node.iter_markers("covers_row"):
        row = request.node.callspec.params["row"]
        table = next(family for family, rows in FAMILIES.items() if row in rows)
        record_property("covers", "|".join((table, row.title, mark.args[0], row.remark)))


@pytest.fixture(scope="session")
def exports(request, tmp_path_factory):
    """Folder of the exports of all rows that this session's tests use."""
    if importlib.util.find_spec("optimum") is None or importlib.util.find_spec("torch") is None:
        pytest.skip("optimum-intel is not installed: the extra `export`, which `make test-slow` installs")
    wanted = sorted(
        {item.callspec.params["row"].name for item in request.session.items if "row" in getattr(item, "callspec", Empty).params}
    )
    folder = Path(os.environ.get("SCAP_OV_EXPORTS") or tmp_path_factory.mktemp("exports"))
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in wanted if not (folder / name).is_dir() and not (folder / f"{name}.error").is_file()]
    running = []
    for pinned in (False, True):
        names = [name for name in missing if bool(ROWS[name].transformers) is pinned]
        if names and (not pinned or pinned_transformers().is_dir()):
            running.append(start(folder, names, pinned=pinned))
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors[-2000:]
    return folder


class Empty:
    """Of an item that has no parameters."""

    params: dict = {}  # noqa: RUF012 - read only


@pytest.fixture(scope="session")
def older_transformers():
    """Folder to put on PYTHONPATH for exports that need the older release."""
    if not pinned_transformers().is_dir():
        pytest.skip("this export needs an older transformers, which `make test-slow` installs beside the newest")
    return pinned_transformers()


def pinned_transformers() -> Path:
    """Where the older release lies."""
    return Path(os.environ.get("SCAP_OV_TRANSFORMERS") or Path(sys.prefix) / PINNED)


def start(folder: Path, names: list[str], *, pinned: bool) -> subprocess.Popen:
    """Export some rows."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    if pinned:
        environment["PYTHONPATH"] = str(pinned_transformers())
    script = Path(__file__).with_name("export_rows.py")
    return subprocess.Popen([sys.executable, str(script), str(folder), *names], env=environment, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


@pytest.fixture(scope="session")
def load(exports):
    """A function from row and file to the path of the compressed model; made once."""

    def path(row: Row, file: str) -> Path:
        error = exports / f"{row.name}.error"
        if row.transformers and not pinned_transformers().is_dir():
            pytest.skip(f"{row.name} is exported with {row.transformers} only, which `make test-slow` installs beside the newest")
        if error.is_file():
            pytest.fail(f"{row.name} was not exported: {error.read_text()}", pytrace=False)
        compressed = exports / row.name / row.weights / file
        if not compressed.is_file():
            model = ov.Core().read_model(exports / row.name / file)
            compressed.parent.mkdir(exist_ok=True)
            ov.save_model(compress(model, row.weights), compressed, compress_to_fp16=row.weights != "f32")
        return compressed

    return path


def compress(model: ov.Model, weights: str) -> ov.Model:
    """As optimum-cli does it for --weight-format."""
    import nncf

    if weights == "int8":
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    if weights == "int4":
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_ASYM, group_size=32, ratio=1.0)
    return model
