"""Finding sites in ONNX graphs: the rules, and that names are those of the same network's IR."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_graphs import K, N, OnnxGraphBuilder
from small_onnx import as_ir, small_decoder, with_control_flow

from scap_ov.config import SparsityConfig
from scap_ov.errors import BadModelError
from scap_ov.models.onnx_model import open_onnx
from scap_ov.passes.onnx.find_sites import find_sites, fingerprint
from scap_ov.passes.onnx.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.find_sites import find_sites as find_sites_of_ir
from scap_ov.plan import SitePlan, SparsityPlan


def found(d: OnnxGraphBuilder, lm_head: bool = False, **outputs):
    return find_sites(open_onnx(d.proto(outputs)).graph_model, lm_head=lm_head)


@pytest.mark.parametrize("tied", [False, True])
def test_a_decoder_has_the_sites_of_its_ir(tied):
    proto = small_decoder(tied=tied)
    own = find_sites(open_onnx(proto).graph_model, lm_head=True)
    ir = find_sites_of_ir(as_ir(proto), lm_head=True)
    names = [match.site.name for match in own.matches]
    assert names == [
        "block.0.qkv",
        "block.0.o",
        "block.0.up",
        "block.0.down",
        "block.1.qkv",
        "block.1.o",
        "block.1.up",
        "block.1.down",
        "lm_head",
    ]
    assert [match.site for match in own.matches][:-1] == [match.site for match in ir.matches][:-1]
    assert ir.matches[-1].site.name == "lm_head"  # its layer has the name of the output there
    assert own.skipped == ir.skipped == []


def test_rule_3_the_output_projection_is_asked_for():
    result = find_sites(open_onnx(small_decoder()).graph_model)
    assert result.skipped == [("/lm_head/MatMul", "it is the output projection; ask for it with lm_head")]
    assert "lm_head" not in [match.site.name for match in result.matches]


def test_rule_1_layers_behind_a_reshape_share_the_site():
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", ["b", "t", K])
    flat = d.op("Reshape", x, d.constant("shape", np.array([-1, K], np.int64)))
    a, b = d.op("MatMul", x, d.weight("wa", K, N)), d.op("Gemm", flat, d.weight("wb", K, N))
    (match,) = found(d, a=a, b=b).matches
    assert len(match.matmuls) == 2
    assert match.source.get_any_name() == "x"


def test_rule_4_a_shared_weight_is_left_stock():
    d = OnnxGraphBuilder(opset=17)
    x, w = d.input("x", ["b", K]), d.weight("w", K, K)
    y = d.op("MatMul", x, w, name="layer")
    result = found(d, y=y, z=d.op("ReduceSum", d.op("Relu", w, name="other"), keepdims=0))
    assert result.skipped == [("layer", "its weight is shared with other")]


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (((K,),), "its weight is a vector, [64]"),
        (((2, K, N),), "its weight has the shape [2, 64, 48], one matrix for each expert or head"),
    ],
)
def test_rule_4_forms_that_cannot_be_pruned(shapes, reason):
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", ["b", "t", K])
    result = found(d, y=d.op("MatMul", x, d.weight("w", *shapes[0]), name="layer"))
    assert result.skipped == [("layer", reason)]


def test_rule_4_integer_activations():
    d = OnnxGraphBuilder()
    x = d.input("x", ["b", K])
    q, scale, zero = d.op("DynamicQuantizeLinear", x, outputs=3)
    w = d.constant("w", d.rng.integers(0, 255, (K, N)).astype(np.uint8))
    y = d.op("Cast", d.op("MatMulInteger", q, w, zero, name="layer"), to=1)
    result = found(d, y=d.op("Mul", y, scale))
    assert result.skipped == [("layer", "its activations are quantised to integers")]
    assert result.matches == []


def test_rule_4_layers_in_control_flow_are_named_and_left():
    result = find_sites(open_onnx(with_control_flow()).graph_model)
    assert [name for name, _ in result.skipped] == ["inside", "inside"]
    assert {reason for _, reason in result.skipped} == {"it is inside the If If_4"}
    assert len(result.matches) == 2


def test_no_layer_at_all_is_refused():
    d = OnnxGraphBuilder(opset=17)
    with pytest.raises(BadModelError, match="no fully connected layer"):
        found(d, y=d.op("Relu", d.input("x", ["b", K])))


def test_a_sparse_model_is_refused():
    opened = open_onnx(small_decoder()).clone()
    model = opened.graph_model
    site = find_sites(model).matches[0].site
    entry = SitePlan(site.name, np.ones(1, np.float32), np.zeros(1, np.float32), 0.5)
    stock = fingerprint(model)
    InsertSparsity(SparsityPlan(SparsityConfig(), stock, (site,), {site.name: entry}))(model)
    with pytest.raises(BadModelError, match="sparse already"):
        find_sites(model)
    assert fingerprint(model) == stock


def test_the_fingerprint_is_of_the_weights():
    assert fingerprint(open_onnx(small_decoder()).graph_model) == fingerprint(open_onnx(small_decoder()).graph_model)
    other = type(small_decoder())()
    other.CopyFrom(small_decoder())
    weight = next(t for t in other.graph.initializer if "q_proj" in t.name)
    weight.raw_data = np.zeros(len(weight.raw_data), np.uint8).tobytes()
    assert fingerprint(open_onnx(other).graph_model) != fingerprint(open_onnx(small_decoder()).graph_model)


def test_nodes_without_names_are_named_after_their_output():
    proto = type(small_decoder())()
    proto.CopyFrom(small_decoder())
    for node in proto.graph.node:
        node.name = ""
    first = open_onnx(proto)
    names = [layer.name for match in find_sites(first.graph_model).matches for layer in match.site.layers]
    assert "/model/layers/0/self_attn/q_proj/MatMul" in names
    assert fingerprint(first.graph_model) == fingerprint(open_onnx(proto).graph_model)


def builder_block(d: OnnxGraphBuilder, x, skip, block: int, *, packed: bool):
    """A block as onnxruntime-genai's builder writes it: operators of com.microsoft, quantised layers, k and v in the cache."""

    def layer(value, n, k, name):
        blob = d.constant(f"{block}.{name}.q", d.rng.integers(0, 256, (n, k // 16, 8)).astype(np.uint8))
        scale = d.constant(f"{block}.{name}.s", np.full((n, k // 16), 0.01, np.float32))
        attributes = {"K": k, "N": n, "bits": 4, "block_size": 16}
        return d.op("MatMulNBits", value, blob, scale, domain="com.microsoft", name=f"/model/layers.{block}/{name}", **attributes)

    def norm(value, other, name):
        gamma = d.constant(f"{block}.{name}", np.ones(K, np.float32))
        out = d.op("SkipSimplifiedLayerNormalization", value, other, gamma, domain="com.microsoft", outputs=4)
        return out[0], out[3]

    normed, skip = norm(x, skip, "input_norm")
    past = [d.input(f"past_key_values.{block}.{part}", ["b", 2, "past", 16]) for part in ("key", "value")]
    if packed:
        qkv = [layer(normed, 2 * K, K, "attn.qkv_proj"), None, None]
    else:
        qkv = [layer(normed, n, K, f"attn.{name}_proj") for name, n in (("q", K), ("k", 32), ("v", 32))]
    attended = d.op("GroupQueryAttention", *qkv, *past, *d.lengths, domain="com.microsoft", outputs=3, num_heads=4, kv_num_heads=2)
    hidden, skip = norm(layer(attended[0], K, K, "attn.o_proj"), skip, "post_norm")
    gate, up = layer(hidden, 2 * K, K, "mlp.gate_proj"), layer(hidden, 2 * K, K, "mlp.up_proj")
    product = d.op("Mul", d.op("Mul", gate, d.op("Sigmoid", gate)), up)
    return layer(product, K, 2 * K, "mlp.down_proj"), skip, attended[1:]


@pytest.mark.parametrize("packed", [False, True])
def test_models_of_onnxruntime_genais_builder(packed):
    d = OnnxGraphBuilder()
    x, skip = d.input("embedded", ["b", "t", K]), d.input("zero", ["b", "t", K])
    d.lengths = [d.input("seqlens_k", ["b"], np.int64), d.input("total", [1], np.int64)]
    caches = []
    for block in (0, 1):
        x, skip, present = builder_block(d, x, skip, block, packed=packed)
        caches += present
    final = d.op(
        "SkipSimplifiedLayerNormalization", x, skip, d.constant("norm", np.ones(K, np.float32)), domain="com.microsoft", outputs=4
    )[0]
    logits = d.op("MatMul", final, d.weight("head", K, 200), name="/lm_head/MatMul")
    result = found(d, lm_head=True, logits=logits, **{f"present.{i}": value for i, value in enumerate(caches)})
    assert result.skipped == []
    names = [f"block.{i}.{kind}" for i in (0, 1) for kind in ("qkv", "o", "up", "down")] + ["lm_head"]
    assert [match.site.name for match in result.matches] == names
    assert [len(match.matmuls) for match in result.matches] == ([1, 1, 2, 1] if packed else [3, 1, 2, 1]) * 2 + [1]


def test_layers_inside_functions_are_seen():
    """As exporters of torch write modules: the functions are expanded."""
    body = ir.Value(name="x"), ir.Value(name="w")
    node = ir.Node("", "MatMul", body)
    node.outputs[0].name = "y"
    function = ir.Function("pkg", "Layer", graph=ir.Graph(body, node.outputs, nodes=[node], opset_imports={"": 18}), attributes=[])
    d = OnnxGraphBuilder(opset=18)
    x = d.input("x", ["b", "t", K])
    h = d.op("Layer", x, d.weight("up", K, 2 * K), domain="pkg")
    model = d.model({"y": d.op("Layer", d.op("Relu", h), d.weight("down", 2 * K, K), domain="pkg")})
    model.functions[function.identifier()] = function
    matches = find_sites(open_onnx(ir.to_proto(model)).graph_model).matches
    assert [match.site.in_features for match in matches] == [K, 2 * K]


def test_layers_in_another_form_are_named():
    d = OnnxGraphBuilder(opset=18)
    x = d.input("x", ["b", "t", K])
    y = d.op("Einsum", d.op("MatMul", x, d.weight("w", K, K)), d.weight("v", K, K), equation="btk,kn->btn", name="einsum")
    turned = d.op("Unsqueeze", d.op("Transpose", y, perm=[0, 2, 1]), d.constant("axes", np.array([2])))
    found = find_sites(open_onnx(d.proto({"y": d.op("Conv", turned, d.weight("k", 8, K, 1, 1), name="conv")})).graph_model)
    reasons = dict(found.skipped)
    assert "an Einsum with a constant weight" in reasons["einsum"]
    assert "a Convolution with a kernel of one position" in reasons["conv"]


@pytest.mark.parametrize("operator", ["MoE", "QMoE"])
def test_rule_4_experts_inside_an_operator_stay_and_are_named(operator):
    d = OnnxGraphBuilder(opset=18)
    x = d.input("x", ["b", "t", K])
    h = d.op("MatMul", x, d.weight("before", K, K), name="before")
    router = d.op("Reshape", d.op("MatMul", h, d.weight("router", K, 4), name="router"), d.constant("flat", np.array([-1, 4])))
    weights = [d.constant(name, np.zeros((4, *shape), np.float32)) for name, shape in (("up", (K, N)), ("down", (N, K)))]
    if operator == "MoE":
        y = d.op("MoE", h, router, weights[0], None, weights[1], domain="com.microsoft", name="experts", k=2)
    else:
        bytes_ = [d.constant(f"q{i}", np.zeros(shape, np.uint8)) for i, shape in enumerate([(4, K, N // 2), (4, N, K // 2)])]
        scales = [d.constant(f"s{i}", np.ones((4, n), np.float32)) for i, n in enumerate([N, K])]
        y = d.op("QMoE", h, router, bytes_[0], scales[0], None, bytes_[1], scales[1], domain="com.microsoft", name="experts", k=2)
    result = found(d, y=d.op("MatMul", y, d.weight("after", K, K), name="after"))
    assert operator in dict(result.skipped)["experts"]
    assert "after" in {layer.name for match in result.matches for layer in match.site.layers}, "shapes go on behind the operator"
