"""Every row of the registry: the expected sites, nothing changed at 0 %, portable equals lowered at 50 %, and it generates."""

from __future__ import annotations

import nncf
import numpy as np
import pytest
from architectures.exporting import error_of
from architectures.feeds import answers, compile_exactly, distance, greedy, inputs_for, is_stateful, random_ids
from architectures.rows import ROWS
from pruned_layers import plan_of

import scap_ov
from scap_ov.backends.openvino import open_model
from scap_ov.calibration.observe import observe
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.lowering import lower

pytestmark = pytest.mark.slow
FILES = [pytest.param(row, file, id=f"{row.name}-{file.removeprefix('openvino_').removesuffix('_model.xml').removesuffix('.xml')}")
         for row in ROWS.values() if not row.refused for file in row.files]  # fmt: skip
# Roundings of float32 through two layers and a norm each, relative to the largest output; a wrong layer shows as 1e-1.
ROUNDING = 2e-5
FLIP = 3e-2  # one entry decided otherwise


def cleaned(name):
    """The module's path out of a layer's friendly name."""
    return name.replace("__module.", "").split("/aten::")[0]


@pytest.mark.covers_row("sites")
@pytest.mark.parametrize(("row", "file"), FILES)
def test_sites(row, file, load):
    found = find_sites(open_model(load(row, file)).model, lm_head=True)
    assert {match.site.name: sorted(cleaned(layer.name) for layer in match.site.layers) for match in found.matches} == row.sites[file]
    expected = row.stock.get(file, {})
    for name, reason in found.skipped:
        assert any(part in name and why in reason for part, why in expected.items()), (name, reason)
    for part in expected:
        assert any(part in name for name, _ in found.skipped), part


@pytest.mark.covers_row("exact at 0 %")
@pytest.mark.parametrize(("row", "file"), FILES)
def test_exact_at_0(row, file, load):
    stock = open_model(load(row, file)).model
    portable = InsertSparsity(plan_of(stock, -1, rows=row.policy(file)))(stock.clone()).model
    lowered = lower(portable, dynamic_quantization=False)
    assert lowered.skipped == []
    ids = random_ids(1, 12, 5)
    assert distance(answers(compile_exactly(lowered.model), ids), answers(compile_exactly(stock), ids)) < ROUNDING


@pytest.mark.covers_row("portable = lowered at 50 %")
@pytest.mark.parametrize(("row", "file"), FILES)
def test_portable_equals_lowered_at_50(row, file, pruned):
    """An entry within rounding of its threshold is kept by one and dropped by the other (docs/onnx.md): of four inputs one may have one."""
    stock, *forms = pruned(row, file)
    apart = []
    for ids in (random_ids(1, 12, 6), random_ids(2, 9, 7), random_ids(1, 8, 8), random_ids(1, 10, 9)):
        dense, portable, lowered = (answers(compile_exactly(model), ids) for model in (stock, *forms))
        apart.append(distance(lowered, portable))
        assert distance(lowered, dense) > 1e-2
    assert sorted(apart)[-2] < ROUNDING
    assert max(apart) < FLIP


GENERATING = [param for param in FILES if "past" in param.values[0].task and "encoder_model" not in param.values[1]]


@pytest.mark.covers_row("generates")
@pytest.mark.parametrize(("row", "file"), GENERATING)
def test_generates(row, file, pruned):
    stock, portable, lowered = pruned(row, file)
    assert is_stateful(stock)
    one, two = (greedy(compile_exactly(model), random_ids(1, 6, 8), 12) for model in (portable, lowered))
    assert one == two


@pytest.mark.parametrize(("row", "file"), [pytest.param(ROWS["opt"], ROWS["opt"].files[0], id="opt")])
def test_relu_is_sparse_by_itself(row, file, load):
    """A threshold of 0 drops the zeros of ReLU: not a bit changes in the portable form, the op adds up in another order, and
    `calibrate` reports how many there are."""
    path = load(row, file)
    stock = open_model(path).model
    plan = plan_of(stock, -1)
    zeros = {name: entry for name, entry in plan_of(stock, 0).entries.items() if name.endswith(".down")}
    at_zero = scap_ov.SparsityPlan(plan.config, plan.fingerprint, plan.sites, plan.entries | zeros)
    portable = [InsertSparsity(p)(stock.clone()).model for p in (plan, at_zero)]
    ids = random_ids(1, 9, 1)
    np.testing.assert_array_equal(*(answers(compile_exactly(model), ids) for model in portable))
    lowered = [LowerSparseMatMul(dynamic_quantization=False)(model).model for model in portable]
    assert distance(*(answers(compile_exactly(model), ids) for model in lowered)) < ROUNDING
    profile = observe(stock, nncf.Dataset([inputs_for(stock, random_ids(1, 24, seed)) for seed in range(4)]))
    for name in zeros:
        assert 0.2 < np.mean(profile.statistics[name].rows == 0) < 0.8


@pytest.mark.covers_row("sites")
@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS.values() if row.refused])
def test_the_exporter_refuses(row, exports):
    """When this fails, the upstream reason is gone and the row can be filled in."""
    assert row.refused in error_of(exports[row.name]).read_text()
