"""Taking the pattern out of an ONNX graph: what went in comes out, inline or function."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import openvino as ov
import pytest
from onnx_graphs import FORMS
from small_onnx import small_decoder

from scap_ov.backends import onnx as backend
from scap_ov.config import SparsityConfig
from scap_ov.models.onnx_model import open_onnx
from scap_ov.passes.onnx.find_sites import find_sites, fingerprint, is_sparse
from scap_ov.passes.onnx.openvino_functions import conversions
from scap_ov.passes.onnx.remove_sparsity import RemoveSparsity, match_patterns
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.plan import SitePlan, SparsityPlan


def planned(proto, *, rows="decode", ramp=0.0):
    opened = open_onnx(proto)
    sites = tuple(match.site for match in find_sites(opened.graph_model, lm_head=True).matches)
    entries = {
        site.name: SitePlan(
            site.name,
            np.linspace(0.1, 1, site.in_features, dtype=np.float32),
            np.full(site.in_features, 0.125, np.float32),
            0.5,
            np.ones(site.out_features, np.float32),
        )
        for site in sites
    }
    return opened, SparsityPlan(SparsityConfig(rows=rows, ramp=ramp), fingerprint(opened.graph_model), sites, entries)


def nodes(model):
    return sorted((node.op_type, node.name, tuple(v.name if v else None for v in node.inputs)) for node in model.graph)


@pytest.mark.parametrize("rows", ["decode", "all"])
@pytest.mark.parametrize("form", ["portable", "function"])
@pytest.mark.parametrize("make", [small_decoder, FORMS["through reshape"], FORMS["matmul f16"], FORMS["nbits 4 zp bias"]])
@pytest.mark.parametrize("ramp", [0.0, 0.3])
def test_what_was_inserted_is_removed(make, form, rows, ramp):
    made = make()
    opened, plan = planned(getattr(made, "proto", made), rows=rows, ramp=ramp)
    model = open_onnx(backend.rewrite(opened, plan, form, {})).graph_model
    assert is_sparse(model)
    assert RemoveSparsity()(model).modified
    assert not is_sparse(model)
    assert not model.functions
    assert fingerprint(model) == fingerprint(opened.graph_model)
    assert same_but_for_paths(nodes(opened.graph_model)) == same_but_for_paths(nodes(model))
    assert set(model.graph.initializers) <= set(opened.graph_model.graph.initializers)


def same_but_for_paths(found):
    """Types of all nodes, and the names and readings of those that are no copy of a Reshape."""
    return [kind for kind, _, _ in found], [node for node in found if node[0] not in ("Reshape", "Gemm")]


def test_a_second_run_changes_nothing():
    opened, plan = planned(small_decoder())
    model = open_onnx(backend.rewrite(opened, plan, "portable", {})).graph_model
    RemoveSparsity()(model)
    left = nodes(model)
    assert not RemoveSparsity()(model).modified
    assert nodes(model) == left


def test_patterns_say_what_was_planned():
    opened, plan = planned(small_decoder())
    patterns = match_patterns(open_onnx(backend.rewrite(opened, plan, "portable", {})).graph_model)
    assert len(patterns) == len(plan.entries)
    for pattern in patterns:
        entry = plan.entries[pattern.select.get_friendly_name().removeprefix("scap_ov.")]
        np.testing.assert_array_equal(pattern.threshold, entry.threshold)
        np.testing.assert_array_equal(pattern.center, entry.center)
        assert (pattern.rows, pattern.max_sparse_rows) == ("decode", plan.config.max_sparse_rows)
        np.testing.assert_array_equal(np.concatenate([layer.compensation for layer in pattern.layers]), entry.compensation)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("form", ["portable", "function"])
def test_a_centre_that_is_not_finite(form, odd):
    """Of a damaged file, for plans are refused: it is our pattern still, so that it can be taken out, and stays in standard operators."""
    opened, plan = planned(small_decoder())
    model = open_onnx(backend.rewrite(opened, plan, form, {})).graph_model
    for value in model.graph.initializers.values():
        numbers = value.const_value.numpy()
        if numbers.dtype == np.float32 and (numbers == 0.125).all():
            value.const_value = ir.tensor(np.where(np.arange(numbers.size) == 3, odd, numbers).astype(np.float32), name=value.name)
    core = ov.Core()
    core.add_extension(conversions())
    read = core.read_model(ir.to_proto(model).SerializeToString())
    result = LowerSparseMatMul()(read)
    assert not result.modified
    assert len(result.skipped) == len(plan.entries)
    assert all("its centre holds NaN or infinity" in reason for _, reason in result.skipped)
    assert is_sparse(model)
    RemoveSparsity()(model)
    assert fingerprint(model) == fingerprint(opened.graph_model)
