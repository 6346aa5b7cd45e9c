"""Exports of the registry, made once for a session in processes of their own; models of them, compressed as optimum-cli does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nncf
import openvino as ov
import pytest
from architectures.exporting import PROCESSES, error_of, export_place, pinned_transformers, start
from architectures.feeds import inputs_for, random_ids
from architectures.rows import FAMILIES, ROWS, Row
from made_once import HOME, lock

import scap_ov
from scap_ov.backends.openvino import open_model
from scap_ov.calibration.observe import observe


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
def exports(request):
    """The exports of all rows that this session's tests use: row's name -> folder, or a file NAME.error with the reason."""
    if importlib.util.find_spec("optimum") is None or importlib.util.find_spec("torch") is None:
        pytest.skip("optimum-intel is not installed: the extra `export`, which `make test-slow` installs")
    wanted = sorted(
        {item.callspec.params["row"].name for item in request.session.items if "row" in getattr(item, "callspec", Empty).params}
    )
    places = {name: export_place(ROWS[name]) for name in wanted}
    with lock(HOME / "exports"):
        # an error is kept only where it is expected: another may be a full disk
        missing = [n for n, folder in places.items() if not folder.is_dir() and not (ROWS[n].refused and error_of(folder).is_file())]
        running = []
        for pinned in (False, True):
            names = [name for name in missing if bool(ROWS[name].transformers) is pinned]
            if names and (not pinned or pinned_transformers().is_dir()):
                running += [start(names[number::PROCESSES], places, pinned=pinned) for number in range(min(PROCESSES, len(names)))]
        for process in running:
            _, errors = process.communicate()
            assert process.returncode == 0, errors[-2000:]
    return places


class Empty:
    """Of an item that has no parameters."""

    params: dict = {}  # noqa: RUF012 - read only


@pytest.fixture(scope="session")
def older_transformers():
    """Folder to put on PYTHONPATH for exports that need the older release."""
    if not pinned_transformers().is_dir():
        pytest.skip("this export needs an older transformers, which `make test-slow` installs beside the newest")
    return pinned_transformers()


@pytest.fixture(scope="session")
def load(exports, tmp_path_factory):
    """A function from row and file to the path of the compressed model; made once."""

    def path(row: Row, file: str) -> Path:
        folder = exports[row.name]
        error = error_of(folder)
        if row.transformers and not pinned_transformers().is_dir():
            pytest.skip(f"{row.name} is exported with {row.transformers} only, which `make test-slow` installs beside the newest")
        if not folder.is_dir():
            pytest.fail(f"{row.name} was not exported: {error.read_text()}", pytrace=False)
        compressed = compressed_folder / f"{row.name}-{row.weights}" / file
        if not compressed.is_file():
            model = ov.Core().read_model(folder / file)
            compressed.parent.mkdir(exist_ok=True)
            ov.save_model(compress(model, row.weights), compressed, compress_to_fp16=row.weights != "f32")
        return compressed

    compressed_folder = tmp_path_factory.mktemp("compressed")

    return path


@pytest.fixture(scope="session")
def pruned(load):
    """A function from row and file to (stock, portable, lowered) at 50 %, as `scap-ov apply` makes them; made once."""
    made = {}

    def models(row, file):
        if (row.name, file) not in made:
            path = load(row, file)
            stock = open_model(path).model
            data = nncf.Dataset([inputs_for(stock, random_ids(1, 24, seed), seed=seed) for seed in range(4)])
            # the whole calibration for one row; sensitivities, which SCAP's uniform allocation does not use, cost more than all the rest
            profile = scap_ov.calibrate(path, data) if row.name == "llama" else observe(stock, data)
            config = scap_ov.SparsityConfig(target_sparsity=0.5, method="scap", center="mode", rows=row.policy(file), replace="always",
                                            lm_head=True, dynamic_quantization=False, drift_correction=False)  # fmt: skip
            plan = scap_ov.fit(profile, config)
            assert set(plan.entries) == set(row.sites[file])
            made[row.name, file] = (stock, *(scap_ov.apply(path, plan, form=form) for form in ("portable", "lowered")))
        return made[row.name, file]

    return models


def compress(model: ov.Model, weights: str) -> ov.Model:
    """As optimum-cli does it for --weight-format."""
    if weights == "int8":
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    if weights == "int4":
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_ASYM, group_size=32, ratio=1.0)
    return model
