"""SCAP_OV_ROWS forces a row policy on every model of a process, read once by the library."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

import scap_ov
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.plan import SitePlan, SparsityPlan

K, N, TOKENS = 64, 32, 9
SCRIPT = """
import sys, numpy as np, openvino as ov, scap_ov
core = ov.Core(); scap_ov.register(core)
x = np.load(sys.argv[2])
try: np.save(sys.argv[3], core.compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0])
except RuntimeError as e: sys.exit(str(e))
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A lowered model that prunes steps of up to four rows, and more rows than that."""
    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    x = ops.parameter([-1, -1, K], np.float32)
    layer = ops.matmul(x, ops.constant(rng.standard_normal((N, K)).astype(np.float32)), False, True)
    model = ov.Model([ops.relu(layer)], [x], "m")
    sites = tuple(match.site for match in find_sites(model).matches)
    entries = {site.name: SitePlan(site.name, np.float32([0.7]), np.float32([0]), 0.5) for site in sites}
    plan = SparsityPlan(scap_ov.SparsityConfig(replace="always", method="adaptive"), fingerprint(model), sites, entries)
    scap_ov.save_model(scap_ov.apply(model, plan), folder / "sparse.xml")
    given = rng.standard_normal((1, TOKENS, K)).astype(np.float32)
    np.save(folder / "x.npy", given)
    return folder, model, given


def run(folder, rows):
    environment = {key: value for key, value in os.environ.items() if key != "SCAP_OV_ROWS"} | ({"SCAP_OV_ROWS": rows} if rows else {})
    command = [sys.executable, "-Ic", SCRIPT, str(folder / "sparse.xml"), str(folder / "x.npy"), str(folder / "y.npy")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("rows", "pruned"), [("", 0), ("decode", 0), ("all", TOKENS - 1)])
def test_rows_that_are_pruned(scene, rows, pruned):
    """With `all`, every row but the first of the sequence."""
    folder, model, given = scene
    done = run(folder, rows)
    assert done.returncode == 0, done.stderr
    stock = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([given])[0]
    moved = np.abs(np.load(folder / "y.npy") - stock)[0].max(axis=1) > 1e-3
    assert moved.tolist() == [False] * (TOKENS - pruned) + [True] * pruned


def test_unknown_policy_is_told(scene):
    done = run(scene[0], "some")
    assert done.returncode == 1
    assert "SCAP_OV_ROWS is 'some'; give all or decode" in done.stderr
