"""The portable pattern does what docs/packing.md says, against numpy; tests answer to InsertSparsity's rules."""

from __future__ import annotations

import numpy as np
import pytest
from pruned_layers import assert_close, infer, one_site, plan_of, reference, through_convert_and_reshape, x_of
from small_llm import small_llm

from scap_ov.errors import BadModelError, MismatchError
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.plan import SitePlan, SparsityPlan

K, N = 64, 40
RNG = np.random.default_rng(11)
CENTERS = RNG.normal(0, 0.3, K).astype(np.float32)
THRESHOLDS = RNG.uniform(0.1, 1.2, K).astype(np.float32)


def inserted(built, threshold, **plan):
    result = InsertSparsity(plan_of(built.model, threshold, **plan))(built.model)
    assert result.modified
    return result.model


def check(model, built, x, threshold, center, pruned_rows, compensation=None, ramp=0.0):
    y, tolerance = reference(x, built.weights[0].dense, threshold, center, pruned_rows, compensation, ramp=ramp)
    assert_close(infer(model, [x])[0], y, tolerance, f"x of shape {x.shape}")


@pytest.mark.parametrize("center", [0.0, 0.25, CENTERS], ids=["no-center", "scalar", "channels"])
@pytest.mark.parametrize("threshold", [0.6, THRESHOLDS], ids=["scalar", "channels"])
def test_rule_1_kept_where_far_from_the_center(center, threshold):
    built = one_site(["f32"], [N], K)
    model = inserted(built, threshold, center=center)
    x = x_of(1, 3, K)
    check(model, built, x, threshold, center, np.ones((1, 3), bool))


def test_rule_1_equality_is_dropped():
    built = one_site(["f32"], [N], K)
    model = inserted(built, 0.5, center=0.25)
    x = np.full((1, 1, K), 0.75, np.float32)
    x[..., ::2] = np.nextafter(np.float32(0.75), np.float32(1))
    check(model, built, x, 0.5, 0.25, np.ones((1, 1), bool))


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_rule_1_the_comparison_is_in_f32(dtype):
    """A threshold between two numbers that the narrow type tells apart, where f16 arithmetic would round it away."""
    built = one_site([dtype], [N], K, activations=dtype)
    model = inserted(built, 0.5, center=0.0001)
    select = next(node for node in model.get_ordered_ops() if node.get_friendly_name() == "scap_ov.other.0")
    compared = select.input_value(0).get_node().input_value(0).get_node()  # behind LogicalNot
    assert {value.get_element_type().get_type_name() for value in compared.input_values()} == {"f32"}
    assert select.get_element_type().get_type_name() == dtype


@pytest.mark.parametrize("shape", [(1, 1, K), (1, 4, K), (4, 1, K), (2, 2, K), (1, 5, K), (5, 1, K), (2, 3, K)])
def test_rule_2_rows_are_counted_over_all_leading_dimensions(shape):
    built = one_site(["f32"], [N], K)
    model = inserted(built, 0.7, center=0.2, max_sparse_rows=4)
    rows = shape[:-1]
    check(model, built, x_of(*shape), 0.7, 0.2, np.full(rows, np.prod(rows) <= 4))


@pytest.mark.parametrize(("rank", "lead"), [(2, (1,)), (2, (5,)), (4, (1, 2, 2)), (4, (2, 1, 3))])
def test_rule_2_other_ranks(rank, lead):
    built = one_site(["f32"], [N], K, rank=rank)
    model = inserted(built, THRESHOLDS, center=CENTERS, max_sparse_rows=4)
    check(model, built, x_of(*lead, K), THRESHOLDS, CENTERS, np.full(lead, np.prod(lead) <= 4))


@pytest.mark.parametrize("shape", [(1, 1, K), (3, 1, K), (1, 9, K), (2, 6, K)])
def test_rule_3_position_0_stays_dense(shape):
    built = one_site(["f32"], [N], K)
    model = inserted(built, 0.7, center=0.2, rows="all")
    pruned = np.ones(shape[:-1], bool)
    if shape[1] > 1:
        pruned[:, 0] = False
    check(model, built, x_of(*shape), 0.7, 0.2, pruned)


@pytest.mark.parametrize(("rank", "lead"), [(2, (7,)), (4, (1, 2, 3))])
def test_rule_3_without_a_sequence_axis_every_row_is_pruned(rank, lead):
    built = one_site(["f32"], [N], K, rank=rank)
    check(inserted(built, 0.7, rows="all"), built, x_of(*lead, K), 0.7, 0, np.ones(lead, bool))


@pytest.mark.parametrize("rows", ["decode", "all"])
def test_rule_4_compensation_of_pruned_rows_only(rows):
    built = one_site(["f32"], [N], K)
    extra = x_of(N, seed=8)
    model = inserted(built, 0.7, compensation=lambda n: extra, rows=rows, max_sparse_rows=4)
    for lead in ((1, 3), (2, 4)):
        pruned = np.full(lead, np.prod(lead) <= 4)
        if rows == "all":
            pruned = np.broadcast_to(np.arange(lead[1]) > 0, lead)
        check(model, built, x_of(*lead, K), 0.7, 0, pruned, extra)


def test_rule_4_compensation_goes_to_the_layer_that_the_plan_means():
    """The plan's layers may be in another order than the graph's."""
    built = one_site(["f32", "f32"], [N, 24], K)
    plan = plan_of(built.model, 0.7, compensation=np.arange)
    site = plan.sites[0]
    order = tuple(reversed(site.layers))
    values = np.split(plan.entries[site.name].compensation, np.cumsum([layer.out_features for layer in site.layers])[:-1])
    swapped = SitePlan(site.name, *(getattr(plan.entries[site.name], a) for a in ("threshold", "center", "expected_sparsity")),
                       np.concatenate(values[::-1]))  # fmt: skip
    other = SparsityPlan(plan.config, plan.fingerprint, (type(site)(site.name, site.kind, site.block, order),), {site.name: swapped})
    x = x_of(1, 2, K)
    one = infer(InsertSparsity(plan)(built.model.clone()).model, [x])
    two = infer(InsertSparsity(other)(built.model.clone()).model, [x])
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_rule_4_names_of_outputs_survive_compensation():
    built = one_site(["f32"], [N], K)
    model = inserted(built, 0.7, compensation=np.zeros)
    assert model.outputs[0].get_names() == {"y0"}


def test_rule_5_convert_and_reshape_between_stay():
    model, weights = through_convert_and_reshape("f32", N, K)
    InsertSparsity(plan_of(model, 0.7, center=0.1))(model)
    assert sum(node.get_type_name() == "Select" and node.get_friendly_name().startswith("scap_ov.") for node in model.get_ops()) == 1
    value = x_of(1, 3, K).astype(np.float16)
    actual = infer(model, [value])
    kept = np.where(np.abs(value.astype(np.float32) - np.float32(0.1)) > np.float32(0.7), value, np.float16(0.1))
    for number, shape in enumerate(((1, 3, N), (3, N))):
        y, tolerance = reference(kept, weights[number].dense, -1, 0, np.zeros((1, 3), bool))
        assert_close(actual[number], y.reshape(shape), tolerance.reshape(shape), f"layer {number}")


def test_rule_6_runtime_inputs_give_what_constants_give():
    llm = small_llm("f16")
    plan = plan_of(llm, 0.4, center=0.02, compensation=lambda n: 0.01 * np.arange(n), rows="all")
    constant = InsertSparsity(plan)(llm.clone()).model
    inserter = InsertSparsity(plan, runtime_inputs=True)
    open_ended = inserter(llm.clone()).model
    inputs = inserter.inputs
    ids = np.array([[3, 1, 4, 1, 5, 9]], np.int64)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(6)[None], "beam_idx": np.zeros(1, np.int32)}
    channels, compensation = sum(s.in_features for s in inputs.sites), []
    centers = np.zeros(channels, np.float32)
    for site in inputs.sites:
        centers[slice(*inputs.channel_range[site.name])] = 0.02
        compensation.append(plan.entries[site.name].compensation)
    vectors = {"scap_ov.thresholds": np.full(channels, 0.4, np.float32), "scap_ov.centers": centers,
               "scap_ov.compensation": np.concatenate(compensation)}  # fmt: skip
    expected, actual = infer(constant, feeds), infer(open_ended, {**feeds, **vectors})
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-5 * np.abs(expected[0]).max())
    off = {**vectors, "scap_ov.thresholds": np.full(channels, -1, np.float32)}
    off["scap_ov.compensation"] = np.zeros_like(vectors["scap_ov.compensation"])
    stock = infer(llm, feeds)[0]
    np.testing.assert_allclose(infer(open_ended, {**feeds, **off})[0], stock, atol=1e-5 * np.abs(stock).max())
    assert np.abs(expected[0] - stock).max() > 1e-2 * np.abs(stock).max()


@pytest.mark.parametrize("rows", ["decode", "all"])
@pytest.mark.parametrize("center", [0.0, 0.25, CENTERS], ids=["no-center", "scalar", "channels"])
@pytest.mark.parametrize("threshold", [0.6, THRESHOLDS - np.float32(0.3)], ids=["scalar", "channels"])
def test_rule_7_kept_entries_near_the_threshold_are_moved(rows, center, threshold):
    """Rows that are dense, and channels of negative threshold, are not."""
    built = one_site(["f32"], [N], K)
    model = inserted(built, threshold, center=center, rows=rows, ramp=0.3, max_sparse_rows=4)
    for shape in ((1, 1, K), (1, 3, K), (2, 5, K)):
        few = np.full(shape[:-1], np.prod(shape[:-1]) <= 4)
        some = np.broadcast_to((np.arange(shape[1]) > 0) | (shape[1] == 1), shape[:-1])
        check(model, built, x_of(*shape), threshold, center, few if rows == "decode" else some, ramp=0.3)


def test_rule_7_nothing_jumps_at_the_threshold():
    """Without a ramp the output of these two inputs differs by the sum of weights times the threshold."""
    built = one_site(["f32"], [N], K)
    stock = built.model.clone()
    for ramp, least, most in ((0.0, 0.1, 100), (1.0, 0, 1e-4)):
        model = InsertSparsity(plan_of(stock, 0.5, ramp=ramp))(stock.clone()).model
        below, above = (infer(model, [np.full((1, 1, K), 0.5 + side, np.float32)])[0] for side in (-1e-6, 1e-6))
        assert least <= np.abs(above - below).max() <= most


def test_only_sites_of_the_plan_are_pruned():
    llm = small_llm()
    plan = plan_of(llm, 0.4)
    kept = {"block.1.down": plan.entries["block.1.down"]}
    model = InsertSparsity(SparsityPlan(plan.config, plan.fingerprint, plan.sites, kept))(llm).model
    assert [n.get_friendly_name() for n in model.get_ops() if n.get_friendly_name().startswith("scap_ov.")] == ["scap_ov.block.1.down"]


def test_a_plan_without_entries_changes_nothing():
    llm = small_llm()
    plan = plan_of(llm, 0.4)
    count = len(llm.get_ops())
    result = InsertSparsity(SparsityPlan(plan.config, plan.fingerprint, plan.sites, {}))(llm)
    assert not result.modified
    assert len(llm.get_ops()) == count


def test_a_second_run_is_refused_and_changes_nothing():
    built = one_site(["f32"], [N], K)
    plan = plan_of(built.model, 0.5)
    model = InsertSparsity(plan)(built.model).model
    count = len(model.get_ops())
    with pytest.raises(BadModelError, match="is sparse already"):
        InsertSparsity(plan)(model)
    assert len(model.get_ops()) == count


def test_bad_plans_are_refused_before_anything_is_changed():
    built = one_site(["f32"], [N], K)
    plan = plan_of(built.model, 0.5)
    entry = plan.entries["other.0"]

    def refused(match, fingerprint=plan.fingerprint, **entries):
        bad = SparsityPlan(plan.config, fingerprint, plan.sites, entries or plan.entries)
        count = len(built.model.get_ops())
        with pytest.raises(MismatchError, match=match):
            InsertSparsity(bad)(built.model)
        assert len(built.model.get_ops()) == count

    refused("belongs to another model", fingerprint="0" * 64)
    refused("prunes the site nowhere, which the model does not have", **{"other.0": entry, "nowhere": entry})
    short = np.zeros(K - 1, np.float32)
    refused(
        r"threshold of other.0 has shape \[63\], the model needs \[1\] or \[64\]",
        **{"other.0": SitePlan("other.0", short, entry.center, 0)},
    )
    refused(r"center of other.0 has shape \[63\]", **{"other.0": SitePlan("other.0", entry.threshold, short, 0)})
    refused(r"compensation of other.0 has shape \[63\], the model needs \[40\]",
            **{"other.0": SitePlan("other.0", entry.threshold, entry.center, 0, short)})  # fmt: skip
