"""Shapes that the file leaves out, behind operators of com.microsoft too, and explicit transposition."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_graphs import BLOCK, K, OnnxGraphBuilder

from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.passes.onnx.find_sites import find_sites
from scap_ov.passes.onnx.infer_shapes import infer_shapes, untranspose_gemm


def quantised(d: OnnxGraphBuilder, x: ir.Value, n: int, k: int) -> ir.Value:
    name = f"w{len(d.nodes)}"
    blob = d.constant(name, d.rng.integers(0, 256, (n, k // BLOCK, BLOCK // 2)).astype(np.uint8))
    scale = d.constant(f"{name}_scale", np.full((n, k // BLOCK), 0.01, np.float32))
    return d.op("MatMulNBits", x, blob, scale, domain="com.microsoft", K=k, N=n, bits=4, block_size=BLOCK)


def test_layers_behind_operators_of_onnxruntime_are_sites():
    d = OnnxGraphBuilder()
    x, residual = d.input("x", ["b", "t", K]), d.input("residual", ["b", "t", K])
    gamma = d.constant("gamma", np.ones(K, np.float32))
    normed, _, _, total = d.op("SkipSimplifiedLayerNormalization", x, residual, gamma, domain="com.microsoft", outputs=4)
    up = d.op("QuickGelu", quantised(d, normed, 2 * K, K), domain="com.microsoft")
    down = quantised(d, up, K, 2 * K)
    opened = open_onnx(d.proto({"y": d.op("Add", down, total)}))
    matches = find_sites(opened.graph_model).matches
    assert [(match.site.kind.value, match.site.in_features) for match in matches] == [("up", K), ("down", 2 * K)]
    shapes = {value.name: value.shape for node in opened.graph_model.graph for value in node.outputs}
    assert list(shapes[up.name])[-1] == 2 * K
    assert len(shapes[total.name]) == 3


def test_nothing_of_the_model_changes_but_shapes():
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", ["b", "t", K])
    y = d.op("Relu", d.op("MatMul", x, d.weight("w", K, K)))
    model = d.model({"y": y})
    before = [(node.op_type, [v.name for v in node.inputs]) for node in model.graph], list(model.graph.initializers)
    infer_shapes(model)
    assert ([(node.op_type, [v.name for v in node.inputs]) for node in model.graph], list(model.graph.initializers)) == before
    assert all(value.shape is not None for node in model.graph for value in node.outputs)


@pytest.mark.parametrize("trans_b", [0, 1])
def test_a_transposed_gemm_computes_the_same(trans_b):
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", [K, "m"])
    y = d.op("Gemm", x, d.weight("w", 32, K) if trans_b else d.weight("w", K, 32), transA=1, transB=trans_b)
    model = d.model({"y": y})
    value = d.rng.standard_normal((K, 3)).astype(np.float32)
    import onnxruntime as ort

    reference = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": value})[0]
    untranspose_gemm(model)
    assert [node.op_type for node in model.graph] == ["Transpose", "Gemm"]
    untranspose_gemm(model)
    assert len(model.graph) == 2
    np.testing.assert_allclose(OnnxSession(open_onnx(ir.to_proto(model))).run({"x": value})["y"], reference, atol=1e-5)


def test_layers_behind_a_quantised_embedding():
    d = OnnxGraphBuilder()
    ids = d.input("ids", ["b", "t"], np.int64)
    table = d.constant("table", d.rng.integers(0, 256, (50, K // 2)).astype(np.uint8))
    scale = d.constant("scale", np.full((50, K // BLOCK), 0.01, np.float32))
    x = d.op("GatherBlockQuantized", table, ids, scale, domain="com.microsoft", block_size=BLOCK, gather_axis=0, quantize_axis=1)
    y = quantised(d, d.op("Relu", quantised(d, x, 2 * K, K)), K, 2 * K)
    matches = find_sites(open_onnx(d.proto({"y": y})).graph_model).matches
    assert [match.site.in_features for match in matches] == [K, 2 * K]


def test_layers_behind_fused_operators():
    """Shapes of what onnxruntime's fusions write; the fused layer itself is named with the reason."""
    d = OnnxGraphBuilder()
    ids, types = d.input("ids", ["b", "t"], np.int64), d.input("types", ["b", "t"], np.int64)
    ids, types = (d.op("Cast", v, to=6) for v in (ids, types))
    gamma = d.constant("gamma", np.ones(K, np.float32))
    embedded = d.op("EmbedLayerNormalization", ids, types, d.weight("we", 50, K), d.weight("pe", 16, K), d.weight("te", 2, K), gamma, gamma,
                    domain="com.microsoft", outputs=2)  # fmt: skip
    bias = d.constant("bias", np.zeros(3 * K, np.float32))
    mixed = d.op("Attention", embedded[0], d.weight("qkv", K, 3 * K), bias, domain="com.microsoft", num_heads=4, name="attention")
    up = d.op("FusedMatMul", d.op("MatMul", mixed, d.weight("o", K, K)), d.weight("up", 2 * K, K), domain="com.microsoft", transB=1)
    y = d.op("MatMul", d.op("Gelu", up), d.weight("down", 2 * K, K))
    found = find_sites(open_onnx(d.proto({"y": y})).graph_model)
    assert [match.site.name for match in found.matches] == ["block.0.o", "block.0.up", "block.0.down"]
    assert found.skipped == [("attention", "it is part of the operator Attention; layers of their own are pruned")]
