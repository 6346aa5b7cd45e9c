"""Plans between the two forms of a network: rule by rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scap_ov.backends.transfer import plan_for
from scap_ov.config import SparsityConfig
from scap_ov.errors import MismatchError
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec

K = 8


def site(name, layers, kind=SiteKind.QKV):
    return Site(name, kind, 0, tuple(Layer(layer, K, n, WeightSpec("f32")) for layer, n in layers))


IR = (site("block.0.qkv", [("model.k_proj/MatMul", 4), ("model.q_proj/MatMul", 8), ("model.v_proj/MatMul", 4)]),)
ONNX = (site("block.0.qkv", [("/q_proj/MatMul", 8), ("/k_proj/MatMul", 4), ("/v_proj/MatMul", 4)]),)


def plan(sites, fingerprint, compensation=None):
    entry = SitePlan("block.0.qkv", np.ones(1, np.float32), np.zeros(K, np.float32), 0.5, compensation)
    return SparsityPlan(SparsityConfig(), fingerprint, sites, {entry.site: entry})


def test_rule_1_a_plan_of_this_model_stays():
    own = plan(IR, "abc")
    assert plan_for(own, "abc", ()) is own


@pytest.mark.parametrize(("theirs", "mine"), [("abc", "def"), ("onnx:abc", "onnx:def")])
def test_rule_2_another_model_of_the_same_kind_is_refused(theirs, mine):
    with pytest.raises(MismatchError, match="fingerprints differ"):
        plan_for(plan(IR, theirs), mine, IR)


@pytest.mark.parametrize(("theirs", "mine"), [("abc", "onnx:def"), ("onnx:abc", "def")])
def test_rule_2_the_other_kind_is_taken(theirs, mine):
    taken = plan_for(plan(IR, theirs), mine, ONNX)
    assert (taken.fingerprint, taken.sites) == (mine, ONNX)
    assert taken.expected_sparsity() == 0.5


@pytest.mark.parametrize(
    "other", [(), (replace(ONNX[0], name="block.1.qkv"),), (site("block.0.qkv", [("/q_proj/MatMul", 8), ("/k_proj/MatMul", 8)]),)]
)
def test_rule_2_other_sizes_are_refused(other):
    with pytest.raises(MismatchError, match=r"another network: 1 of its 1 sites are not here in that size \(block\.0\.qkv\)"):
        plan_for(plan(IR, "abc"), "onnx:def", other)


def test_rule_3_compensation_follows_its_layer():
    k, q, v = np.full(4, 1, np.float32), np.full(8, 2, np.float32), np.full(4, 3, np.float32)
    taken = plan_for(plan(IR, "abc", np.concatenate([k, q, v])), "onnx:def", ONNX)
    np.testing.assert_array_equal(taken.entries["block.0.qkv"].compensation, np.concatenate([q, k, v]))


def test_rule_3_an_order_that_cannot_be_told_is_refused():
    nameless = (site("block.0.qkv", [("MatMul_1", 4), ("MatMul_2", 8), ("MatMul_3", 4)]),)
    with pytest.raises(MismatchError, match="which of its layers is which cannot be told"):
        plan_for(plan(nameless, "abc", np.zeros(16, np.float32)), "onnx:def", ONNX)
    assert plan_for(plan(nameless, "abc"), "onnx:def", ONNX).entries["block.0.qkv"].compensation is None
