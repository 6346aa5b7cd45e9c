"""A small Llama with random weights as ONNX, its IR, token data, and a model with control flow. Imported by tests."""

from __future__ import annotations

import functools

import nncf
import numpy as np
import onnx
import onnx_ir as ir
import openvino as ov
from onnx_graphs import K, N, OnnxGraphBuilder

from scap_ov.sample_models.onnx_decoder import Rotary, decoder, random_weights
from scap_ov.sample_models.random_llm import Shape

SHAPE = Shape("small", layers=2, hidden=64, ffn=96, heads=4, kv_heads=2, vocabulary=256)


@functools.cache
def small_decoder(*, tied: bool = False) -> onnx.ModelProto:
    return decoder(SHAPE, random_weights(SHAPE, tied=tied), Rotary())


def as_ir(proto: onnx.ModelProto) -> ov.Model:
    return ov.Core().read_model(proto.SerializeToString(), b"")


def token_data(samples: int = 6, length: int = 24) -> nncf.Dataset:
    ids = np.random.default_rng(3).integers(0, SHAPE.vocabulary, (samples, 1, length))
    return nncf.Dataset([{"input_ids": sample} for sample in ids])


def with_control_flow() -> onnx.ModelProto:
    """A layer outside, one inside both branches of an If, and a Loop that reads a value from outside."""
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", ["b", "t", K])
    outer, inner = d.weight("outer", K, N), d.weight("inner", N, N)
    y = d.op("Relu", d.op("MatMul", x, outer, name="outside"))

    def branch(sign: float) -> ir.Graph:
        b = OnnxGraphBuilder(opset=17)
        value = b.op("Mul", b.op("MatMul", y, inner, name="inside"), b.constant("sign", np.array(sign, np.float32)))
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["b", "t", N])
        return ir.Graph([], [value], nodes=b.nodes, initializers=b.initializers, name=f"branch {sign}")

    total = d.op("ReduceSum", y, keepdims=0)
    condition = d.op("Greater", total, d.constant("zero", np.array(0, np.float32)))
    chosen = d.op("If", condition, then_branch=branch(1.0), else_branch=branch(-1.0))

    body = OnnxGraphBuilder(opset=17)
    turn = ir.Value(name="turn", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.INT64))
    going = ir.Value(name="going", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.BOOL))
    state = ir.Value(name="state", shape=ir.Shape(["b", "t", N]), type=ir.TensorType(ir.DataType.FLOAT))
    grown = body.op("Add", state, y)
    kept = body.op("Identity", going)
    kept.type, kept.shape, grown.type, grown.shape = going.type, going.shape, state.type, state.shape
    loop_body = ir.Graph([turn, going, state], [kept, grown], nodes=body.nodes, name="body")
    chosen.type, chosen.shape = state.type, state.shape
    looped = d.op("Loop", d.constant("turns", np.array(3, np.int64)), d.constant("go", np.array(True)), chosen, body=loop_body)
    looped.type, looped.shape = state.type, state.shape
    z = d.op("MatMul", looped, d.weight("last", N, N), name="last")
    return d.proto({"out": z})
