"""The plan that is in a sparse model comes back whole, whatever the layers are called."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models as tiny

import scap_ov
from scap_ov.evaluation.extract_plan import pruned_inputs, take_apart
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.sparse_op import joined_name, names_of
from scap_ov.plan import SitePlan, SparsityPlan


def renamed(names):
    """A model whose four block layers have these names, in order, and a plan that compensates all of them."""
    model = tiny.encoder(tiny.logits)
    layers = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    for node, name in zip(layers, names, strict=False):
        node.set_friendly_name(name)
    sites = tuple(match.site for match in find_sites(model, lm_head=True).matches)
    rng = np.random.default_rng(0)
    entries = {
        site.name: SitePlan(
            site.name, np.float32([0.1 + 0.1 * i]), np.float32([0.05]), 0.5, rng.standard_normal(site.out_features).astype(np.float32)
        )
        for i, site in enumerate(sites)
    }
    return model, SparsityPlan(scap_ov.SparsityConfig(replace="always", method="adaptive"), fingerprint(model), sites, entries)


@pytest.mark.parametrize("form", ["portable", "lowered"])
@pytest.mark.parametrize(
    "names",
    [["a;b", "c|d", "e,f", '["g"]'], ["same"] * 4, ["up", "down", "up", "down"], ["", "[x;]", "\\", '"']],
    ids=["marks", "one", "two", "odd"],
)
def test_names_with_separators_and_equal_names(form, names):
    model, plan = renamed(names)
    sparse = scap_ov.apply(model, plan, form=form)
    found, stock = take_apart(sparse)
    assert fingerprint(stock) == plan.fingerprint
    assert found.entries.keys() == plan.entries.keys()
    for name, entry in plan.entries.items():
        np.testing.assert_array_equal(found.entries[name].threshold, entry.threshold)
        np.testing.assert_array_equal(found.entries[name].compensation, entry.compensation)
    assert sorted(p.site_in(found.sites) for p in pruned_inputs(sparse)) == sorted(plan.entries)


def test_every_site_is_measured():
    model, plan = renamed(["same"] * 4)
    windows = [ids[0].tolist() for ids in tiny.token_samples(2)]
    for _ in range(3):  # which failed now and then
        result = scap_ov.evaluate(scap_ov.apply(model, plan), model, windows)
        assert {site.name for site in result.sites} == set(plan.entries)


def test_names_of_older_files():
    class Op:
        def __init__(self, name, outputs):
            self.name, self.outputs = name, outputs

        def get_friendly_name(self):
            return self.name

        def get_output_size(self):
            return self.outputs

    assert names_of(Op("scap_ov.block.0.qkv|a;b|c", 2)) == ("block.0.qkv", ["a", "b|c"])
    assert names_of(Op(joined_name("block.0.qkv", ["a;", "b"]), 2)) == ("block.0.qkv", ["a;", "b"])
    assert names_of(Op("renamed", 2)) == ("renamed", ["renamed.0", "renamed.1"])
