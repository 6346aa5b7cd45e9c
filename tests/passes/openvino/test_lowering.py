"""The passes in their order: what is written for a block, lowered at once, and filled in where it stays portable."""

from dataclasses import replace

import numpy as np
import pytest
from expert_blocks import experts_model
from pruned_layers import infer, one_site, plan_of, straight_and_flat, vector, x_of

from scap_ov.custom_ops.formats import planes
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.lowering import insert_and_lower
from scap_ov.passes.rules import weight_matrix

K, N = 128, 40


def graded():
    """`straight_and_flat`, and its graded plan."""
    model = straight_and_flat(N, K)
    plan = plan_of(model, 0.4, rows="all")
    entries = {name: replace(entry, whole_threshold=vector(1.5)) for name, entry in plan.entries.items()}
    return model, replace(plan, entries=entries)


def test_a_layer_that_stays_portable_loses_what_the_two_passes_write_one_after_the_other():
    model, plan = graded()
    portable = InsertSparsity(plan)(model.clone()).model
    apart = LowerSparseMatMul(dynamic_quantization=False)(portable.clone())
    plan = replace(plan, config=replace(plan.config, dynamic_quantization=False))
    _, lowered = insert_and_lower(model, plan, find_sites(model, lm_head=True))
    assert apart.skipped == lowered.skipped == [("other.0", "flat: a Reshape before it hides which row is the first position")]
    value = x_of(1, 5, K)
    for own, other, slow in zip(*(infer(each, [value]) for each in (model, apart.model, portable)), strict=True):
        np.testing.assert_array_equal(own, other)
        np.testing.assert_allclose(own, slow, atol=1e-4)


def test_steps_are_searched_once_where_all_is_lowered(monkeypatch):
    searched = []
    monkeypatch.setattr(planes, "search", lambda raw, group, search=planes.search: searched.append(raw.shape) or search(raw, group))
    model, plan = graded()
    plan = replace(plan, config=replace(plan.config, rows="decode"))
    _, lowered = insert_and_lower(model, plan, find_sites(model, lm_head=True))
    assert lowered.skipped == []
    assert searched == [(N, K), (N, K)]


@pytest.mark.parametrize("experts", [False, True])
def test_weights_are_looked_at_for_nan_once(monkeypatch, experts):
    """Float ones are read from the file for it, as a whole."""
    looked_at = []
    is_finite = weight_matrix.is_finite
    monkeypatch.setattr(weight_matrix, "is_finite", lambda constant: looked_at.append(constant.get_friendly_name()) or is_finite(constant))
    model = experts_model("f32", experts=3, k=96, n=40).model if experts else one_site(["f16"], [N], K).model
    found = find_sites(model, lm_head=True)
    _, lowered = insert_and_lower(model, plan_of(model, 0.4), found)
    assert lowered.modified
    assert not lowered.skipped
    assert len(looked_at) == len(set(looked_at)) * 2  # by `found`, and by `plan_of`


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_nothing_of_the_patterns_is_left(rows):
    model, plan = graded()
    plan = replace(plan, config=replace(plan.config, rows=rows))
    insert_and_lower(model, plan, find_sites(model, lm_head=True))
    missed = [node.get_friendly_name() for node in model.get_ops() if node.get_friendly_name().endswith("/missed")]
    assert len(missed) == (rows == "all")
