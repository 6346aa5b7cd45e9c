"""Sites are found by the graph, in models as they are exported; tests answer to the rules in find_sites' docstring."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from pruned_layers import one_site, plan_of
from small_llm import small_llm
from weight_forms import matmul, store

from scap_ov.errors import BadModelError
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.raise_sparse_matmul import RaiseSparseMatMul
from scap_ov.sites import SiteKind

K = 64
SITES = [f"block.{b}.{kind}" for b in range(2) for kind in ("qkv", "o", "up", "down")]


def x_of(*shape, dtype=np.float32):
    node = ops.parameter(ov.PartialShape(list(shape)), dtype, name="x")
    node.output(0).get_tensor().set_names({"x"})
    return node


def fc(x, n=32, k=K, name="fc", form="f16"):
    return matmul(x, store(n, k, form, np.random.default_rng(0)), name)


def model(outputs, parameters):
    return ov.Model([ops.result(o) for o in outputs], parameters, "m")


def names(found):
    return [match.site.name for match in found.matches]


def layer_names(found):
    return {match.site.name: sorted(layer.name for layer in match.site.layers) for match in found.matches}


def test_small_llm():
    found = find_sites(small_llm())
    assert sorted(names(found)) == sorted(SITES)
    kinds = {match.site.name: match.site.kind.value for match in found.matches}
    assert all(name.split(".")[2] == kind for name, kind in kinds.items())
    assert {len(match.matmuls) for match in found.matches if match.site.kind is SiteKind.QKV} == {3}
    assert {len(match.matmuls) for match in found.matches if match.site.kind is SiteKind.UP} == {2}
    for match in found.matches:
        assert [m.get_friendly_name() for m in match.matmuls] == [layer.name for layer in match.site.layers]
        assert [w.shape for w in match.weights] == [(layer.out_features, layer.in_features) for layer in match.site.layers]
        assert {m.input_value(0).get_node().get_friendly_name() for m in match.matmuls} == {match.source.get_node().get_friendly_name()}
    assert [name for name, _ in found.skipped] == ["__module.lm_head/aten::linear/MatMul"]


def test_rule_1_one_tensor_is_one_site_through_convert_and_reshape():
    x = x_of(-1, -1, K)
    h = ops.add(x, np.float32(1))
    wide = ops.convert(ops.convert(h, np.float16), np.float32)
    flat = ops.reshape(h, np.array([-1, K]), special_zero=False)
    found = find_sites(model([fc(h, name="a"), fc(wide, name="b"), fc(flat, name="c")], [x]))
    assert list(layer_names(found).values()) == [["a", "b", "c"]]
    assert found.matches[0].source.get_node().get_instance_id() == h.get_instance_id()


def test_rule_1_layers_that_read_one_converted_tensor_have_that_as_their_source():
    x = x_of(-1, -1, K)
    wide = ops.convert(ops.convert(x, np.float16), np.float32)
    found = find_sites(model([fc(wide, name="a"), fc(wide, name="b")], [x]))
    assert found.matches[0].source.get_node().get_instance_id() == wide.get_instance_id()


def test_rule_2_names_are_not_needed():
    llm = small_llm()
    expected = {match.site.name: sorted(w.shape for w in match.weights) for match in find_sites(llm).matches}
    for number, node in enumerate(llm.get_ordered_ops()):
        if node.get_type_name() == "MatMul":
            node.set_friendly_name(f"node{number}")
    assert {match.site.name: sorted(w.shape for w in match.weights) for match in find_sites(llm).matches} == expected


def test_rule_2_names_tell_where_the_graph_does_not():
    x = x_of(-1, -1, K)
    a, b = ops.multiply(x, np.float32(2)), ops.multiply(x, np.float32(3))
    out = [ops.softmax(fc(a, name="model.layers.3.self_attn.q_proj"), -1), ops.softmax(fc(b, name="strange"), -1)]
    assert sorted(names(find_sites(model(out, [x])))) == ["block.3.qkv", "other.0"]


def test_rule_3_the_output_projection_only_when_asked_for():
    llm = small_llm()
    head = find_sites(llm, lm_head=True).matches[-1].site
    assert (head.name, head.kind, head.block) == ("lm_head", SiteKind.LM_HEAD, -1)
    found = find_sites(llm)
    assert "lm_head" not in names(found)
    assert found.skipped[0][1] == "it is the output projection; ask for it with lm_head"


def test_rule_3_the_output_projection_may_share_the_embedding_table():
    ids = ops.parameter([-1, -1], np.int64, name="ids")
    table = ops.convert(ops.constant(np.ones((500, K), np.float16)), np.float32)
    hidden = ops.gather(table, ids, ops.constant(0))
    logits = ops.matmul(hidden, table, False, True)
    logits.output(0).get_tensor().set_names({"logits"})
    assert names(find_sites(model([logits], [ids]), lm_head=True)) == ["lm_head"]


def _skipped(outputs, parameters):
    found = find_sites(model(outputs, parameters))
    return dict(found.skipped), names(found)


def test_rule_4_weight_form():
    x = x_of(-1, -1, K)
    batched = ops.matmul(x, np.ones((4, 32, K), np.float32), False, True)
    batched.set_friendly_name("experts")
    skipped, found = _skipped([batched, fc(ops.relu(x))], [x])
    assert skipped == {"experts": "its weight is batched, [4, 32, 64]: one matrix for each of 4 experts or heads"}
    assert len(found) == 1


@pytest.mark.parametrize("form", ["f16", "i8", "u4-g32-zp"])
def test_rule_4_shared_weight_is_left_stock(form):
    x = x_of(-1, -1, K)
    stored = store(K, K, form, np.random.default_rng(0))
    first = matmul(x, stored, "first")
    second = matmul(ops.relu(first), stored, "second")
    skipped, found = _skipped([second, fc(ops.sigmoid(second), name="own")], [x])
    assert skipped == {"first": "its weight is shared with second", "second": "its weight is shared with first"}
    assert len(found) == 1


def test_rule_4_weight_with_chains_of_its_own_is_shared_too():
    """Exporters share the compressed constant and repeat the chain."""
    x = x_of(-1, -1, K)
    raw = ops.constant(np.ones((K, K), np.int8))
    layers = []
    for name in ("first", "second"):
        layers.append(
            ops.matmul(layers[-1] if layers else x, ops.multiply(ops.convert(raw, np.float32), np.ones((K, 1), np.float32)), False, True)
        )
        layers[-1].set_friendly_name(name)
    assert _skipped([layers[-1], fc(ops.sigmoid(x))], [x])[0] == {
        "first": "its weight is shared with second", "second": "its weight is shared with first",
    }  # fmt: skip


def test_rule_4_weight_that_is_looked_up_too():
    x, ids = x_of(-1, -1, K), ops.parameter([-1], np.int64, name="ids")
    table = ops.convert(ops.constant(np.ones((K, K), np.float16)), np.float32)
    layer = ops.matmul(x, table, False, True)
    layer.set_friendly_name("tied")
    skipped, _ = _skipped([ops.relu(layer), ops.gather(table, ids, ops.constant(0)), fc(ops.sigmoid(x))], [x, ids])
    assert skipped["tied"].startswith("its weight is shared with Gather")


def test_rule_4_unknown_rank_and_single_dimension():
    for shape, text in ((ov.PartialShape.dynamic(), "[...]"), (ov.PartialShape([K]), "[64]")):
        x, y = ops.parameter(shape, np.float32, name="x"), x_of(-1, K)
        skipped, _ = _skipped([fc(x, name="flat"), fc(y)], [x, y])
        assert skipped == {"flat": f"its input has the shape {text}; at least two dimensions must be known"}


def test_rule_4_input_of_another_type():
    x, y = ops.parameter([-1, K], np.float64, name="x"), x_of(-1, K)
    layer = ops.matmul(x, ops.convert(ops.constant(np.ones((8, K), np.float32)), np.float64), False, True)
    layer.set_friendly_name("double")
    assert _skipped([layer, fc(y)], [x, y])[0] == {"double": "its input is f64; f32, f16 and bf16 are understood"}


def test_rule_4_expert_routing():
    x = x_of(-1, K)
    router = fc(x, 8, name="router")
    best = ops.topk(ops.softmax(router, -1), np.array(2), -1, "max", "value")
    skipped, found = _skipped([best.output(0), fc(ops.relu(x))], [x])
    assert skipped == {"router": "it routes tokens to experts, and is small"}
    assert len(found) == 1


def test_rule_4_control_flow():
    x, condition = x_of(-1, K), ops.parameter([], bool, name="condition")
    branches = []
    for name in ("then", "else"):
        inner = x_of(-1, K)
        branches.append((ov.Model([ops.result(fc(inner, name=name))], [inner], name), inner))
    node = ops.if_op(condition)
    node.set_then_body(branches[0][0])
    node.set_else_body(branches[1][0])
    node.set_input(x.output(0), branches[0][1], branches[1][1])
    out = node.set_output(branches[0][0].results[0], branches[1][0].results[0])
    node.set_friendly_name("choice")
    skipped, found = _skipped([out, fc(ops.relu(x))], [x, condition])
    assert skipped == {"then": "it is inside the If choice", "else": "it is inside the If choice"}
    assert len(found) == 1


def test_rule_4_loop_of_a_model_that_was_read(tmp_path):
    """Nodes of a file are of the base class in Python."""
    inner = x_of(1, K)
    body = ov.Model([ops.result(fc(inner, K, name="inside")), ops.result(ops.constant(np.array(True)))], [inner], "body")
    loop = ops.loop(ops.constant(np.array(3)), ops.constant(np.array(True)))
    loop.set_function(body)
    loop.set_special_body_ports([-1, 1])
    x = x_of(1, K)
    loop.set_merged_input(inner, x.output(0), body.results[0].output(0))
    out = loop.get_iter_value(body.results[0].output(0), -1)
    loop.set_friendly_name("steps")
    ov.save_model(model([out, fc(ops.relu(x))], [x]), tmp_path / "m.xml")
    assert find_sites(ov.Core().read_model(tmp_path / "m.xml")).skipped == [("inside", "it is inside the Loop steps")]


def test_rule_5_the_bias_stays_outside():
    x = x_of(-1, -1, K)
    layer = fc(x)
    found = find_sites(model([ops.relu(ops.add(layer, np.ones(32, np.float32)))], [x]))
    assert found.matches[0].matmuls[0].get_instance_id() == layer.get_instance_id()


def test_a_second_search_finds_the_same_and_changes_nothing():
    llm = small_llm()
    before = [node.get_friendly_name() for node in llm.get_ordered_ops()]
    assert names(find_sites(llm)) == names(find_sites(llm))
    assert [node.get_friendly_name() for node in llm.get_ordered_ops()] == before


def test_a_model_without_layers_is_refused():
    x = x_of(-1, K)
    with pytest.raises(BadModelError, match="has no fully connected layer"):
        find_sites(model([ops.relu(x)], [x]))


@pytest.mark.parametrize("form", ["portable", "lowered"])
def test_a_sparse_model_is_refused(form):
    built = one_site(["f16"], [32], K)
    sparse = InsertSparsity(plan_of(built.model, 0.5))(built.model).model
    if form == "lowered":
        LowerSparseMatMul()(sparse)
    with pytest.raises(BadModelError, match="is sparse already"):
        find_sites(sparse)


def test_fingerprint_is_of_names_and_weights(tmp_path):
    built = one_site(["u4-g32-zp", "f16"], [32, 16], K)
    mark = fingerprint(built.model)
    assert fingerprint(built.model.clone()) == mark
    ov.save_model(built.model, tmp_path / "m.xml")
    assert fingerprint(ov.Core().read_model(tmp_path / "m.xml")) == mark
    assert fingerprint(one_site(["u4-g32-zp", "f16"], [32, 16], K, seed=1).model) != mark
    built.model.get_ordered_ops()[-2].set_friendly_name("another name")
    assert fingerprint(built.model) != mark


def test_fingerprint_of_the_sparse_forms_is_that_of_the_stock_model():
    built = one_site(["u4-g32-zp", "f16"], [32, 16], K)
    mark = fingerprint(built.model)
    sparse = InsertSparsity(plan_of(built.model, 0.5))(built.model).model
    assert fingerprint(sparse) == mark
    LowerSparseMatMul()(sparse)
    RaiseSparseMatMul()(sparse)
    assert fingerprint(sparse) == mark


def test_layers_in_another_form_are_named():
    x = ops.parameter([-1, 8, 1, -1], np.float32)
    plain = [[1, 1], [0, 0], [0, 0], [1, 1]]
    one = ops.convolution(x, ops.constant(np.ones((8, 8, 1, 1), np.float32)), *plain)
    wide = ops.convolution(one, ops.constant(np.ones((8, 8, 1, 3), np.float32)), *plain)
    rows = ops.squeeze(ops.transpose(wide, np.array([0, 2, 3, 1])), np.array([1]))
    y = ops.einsum([rows, ops.constant(np.ones((4, 8), np.float32))], "btk,nk->btn")
    one.set_friendly_name("one"), wide.set_friendly_name("wide"), y.set_friendly_name("einsum")
    found = find_sites(ov.Model([y], [x], "m"))
    assert {name for name, _ in found.skipped} == {"one", "einsum"}
    with pytest.raises(BadModelError, match=r"could be pruned \(one: it is a Convolution"):
        found.some()
