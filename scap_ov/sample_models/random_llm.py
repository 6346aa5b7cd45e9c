"""Write a Llama-type model folder with random weights straight from openvino ops: no torch, memory of one layer at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.openvino.write_experts import ExpertLayers, write_experts
from scap_ov.passes.rules.experts import Activation
from scap_ov.sample_models.synthetic import random_weight
from scap_ov.sites import WeightSpec
from scap_ov.storage.model_folder import write_model_folder


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder.

    :param head_size: of attention, where it is not hidden / heads.
    :param experts: routed experts of a block, each of size `ffn`; 0 for one dense layer.
    :param used: experts that a token goes to.
    """

    name: str
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    vocabulary: int
    head_size: int = 0
    experts: int = 0
    used: int = 0

    @property
    def head(self) -> int:
        """Size of one attention head."""
        return self.head_size or self.hidden // self.heads


SHAPES = {
    "qwen2.5-0.5b": Shape("qwen2.5-0.5b", 24, 896, 4864, 14, 2, 151936),
    "llama-3.2-1b": Shape("llama-3.2-1b", 16, 2048, 8192, 32, 8, 128256),
    "llama-3.1-8b": Shape("llama-3.1-8b", 32, 4096, 14336, 32, 8, 128256),
    "qwen3-30b-a3b": Shape("qwen3-30b-a3b", 48, 2048, 768, 32, 4, 151936, head_size=128, experts=128, used=8),
}
# A group size of 0 stands for one scale per output channel.
WEIGHTS = {
    "f16": WeightSpec("f16"),
    "i4": WeightSpec("i4", 128, "f16"),
    "u4": WeightSpec("u4", 64, "f16", has_zero_point=True),
    "i8": WeightSpec("i8", 0, "f16"),
    "i4_g32": WeightSpec("i4", 32, "f16"),
}


def write_model(shape: Shape, weights: str, layers: int, tokenizer_folder: Path, folder: Path) -> None:
    """Write a stateful model with `layers` blocks, and the companions of another folder so that openvino-genai opens it.

    :param weights: key of WEIGHTS; lm_head is int8 per channel in any case, as optimum-cli exports it.
    :raises OutputError: the folder is not empty or cannot be written.
    """
    write_model_folder(build(shape, weights, layers), tokenizer_folder, folder)


def build(shape: Shape, weights: str, layers: int) -> ov.Model:
    """The graph: embedding, blocks with RMS norm, rotary embedding, grouped attention over KV state, SwiGLU, lm_head."""
    rng = np.random.default_rng(0)
    ids, mask = _input("input_ids", [-1, -1]), _input("attention_mask", [-1, -1])
    positions, beam = _input("position_ids", [-1, -1]), _input("beam_idx", [-1], np.int32)
    spec = WEIGHTS[weights]
    # looked up before it is made float, for the whole table would be converted at every step otherwise
    table = ops.constant(rng.integers(-127, 128, (shape.vocabulary, shape.hidden), dtype=np.int8))
    x: ov.Output = ops.multiply(ops.convert(ops.gather(table, ids, ops.constant(0)), np.float32), np.float32(0.01)).output(0)
    cosine, sine = _rotation(positions, shape)
    batch = ops.gather(ops.shape_of(ids), ops.constant(np.array([0])), ops.constant(0))
    bias = _causal(ids, mask)
    sinks: list[ov.Node] = []
    for block in range(layers):
        normed = _norm(x, shape.hidden)
        attended, assigns = _attention(normed, shape, block, spec, rng, cosine, sine, batch, beam, bias)
        sinks += assigns
        x = ops.add(x, attended).output(0)
        normed = _norm(x, shape.hidden)
        prefix = f"model.layers.{block}.mlp."
        if shape.experts:
            x = ops.add(x, _experts(normed, shape, spec, rng, prefix)).output(0)
            continue
        gate = _linear(normed, shape.ffn, shape.hidden, spec, rng, prefix + "gate_proj")
        up = _linear(normed, shape.ffn, shape.hidden, spec, rng, prefix + "up_proj")
        product = ops.multiply(ops.swish(gate), up)
        x = ops.add(x, _linear(product, shape.hidden, shape.ffn, spec, rng, prefix + "down_proj")).output(0)
    logits = _linear(_norm(x, shape.hidden), shape.vocabulary, shape.hidden, WEIGHTS["i8"], rng, "lm_head")
    logits.output(0).get_tensor().set_names({"logits"})
    return ov.Model([ops.result(logits)], sinks, [ids, mask, positions, beam], shape.name)


def _attention(
    x: ov.Output,
    shape: Shape,
    block: int,
    spec: WeightSpec,
    rng: np.random.Generator,
    cosine: ov.Output,
    sine: ov.Output,
    batch: ov.Output,
    beam: ov.Node,
    bias: ov.Output,
) -> tuple[ov.Node, list[ov.Node]]:
    prefix = f"model.layers.{block}.self_attn."
    wide = shape.kv_heads * shape.head
    q = _heads(_linear(x, shape.heads * shape.head, shape.hidden, spec, rng, prefix + "q_proj"), shape.heads, shape.head)
    k = _heads(_linear(x, wide, shape.hidden, spec, rng, prefix + "k_proj"), shape.kv_heads, shape.head)
    v = _heads(_linear(x, wide, shape.hidden, spec, rng, prefix + "v_proj"), shape.kv_heads, shape.head)
    q, k = _rotate(q, cosine, sine), _rotate(k, cosine, sine)
    k, keep_k = _cache(k, f"past_key_values.{block}.keypresent.{block}.key", shape, batch, beam)
    v, keep_v = _cache(v, f"past_key_values.{block}.valuepresent.{block}.value", shape, batch, beam)
    k, v = _repeat(k, shape), _repeat(v, shape)
    y = ops.scaled_dot_product_attention(q, k, v, bias, causal=False)
    y = ops.reshape(ops.transpose(y, np.array([0, 2, 1, 3])), np.array([0, 0, shape.heads * shape.head]), special_zero=True)
    return _linear(y, shape.hidden, shape.heads * shape.head, spec, rng, prefix + "o_proj"), [keep_k, keep_v]


def _experts(x: ov.Output, shape: Shape, spec: WeightSpec, rng: np.random.Generator, prefix: str) -> ov.Output:
    """Router and routed experts of a block, as optimum exports those of Qwen3-MoE."""
    flat = ops.reshape(x, np.array([-1, shape.hidden]), special_zero=False).output(0)
    chances = ops.softmax(_linear(flat, shape.experts, shape.hidden, WEIGHTS["i8"], rng, prefix + "gate"), 1)
    top = ops.topk(chances, np.array(shape.used), 1, "max", "value")
    routing = ops.divide(top.output(0), ops.reduce_sum(top.output(0), np.array([1]), keep_dims=True)).output(0)
    sizes = [(shape.ffn, shape.hidden), (shape.ffn, shape.hidden), (shape.hidden, shape.ffn)]
    *up, down = (random_weight(n, k, _per_channel(spec, k), rng, shape.experts) for n, k in sizes)
    names = [f"__module.{prefix}experts/{name}" for name in ("gate", "up", "down")]
    y = write_experts(x, top.output(1), routing, ExpertLayers(up, down, names), Activation("silu"))
    return ops.reshape(y, ops.shape_of(x), special_zero=False).output(0)


def _linear(x: ov.Output, n: int, k: int, spec: WeightSpec, rng: np.random.Generator, name: str) -> ov.Node:
    node = ops.matmul(x, random_weight(n, k, _per_channel(spec, k), rng), False, True)
    node.set_friendly_name(f"__module.{name}/aten::linear/MatMul")
    return node


def _per_channel(spec: WeightSpec, k: int) -> WeightSpec:
    """A group size of 0 in WEIGHTS stands for one scale per output channel."""
    return replace(spec, group_size=k) if spec.group_size == 0 and spec.scale_dtype else spec


def _norm(x: ov.Output, size: int) -> ov.Output:
    power = ops.reduce_mean(ops.power(x, np.float32(2)), np.array([-1]), keep_dims=True)
    scaled = ops.multiply(x, ops.divide(np.float32(1), ops.sqrt(ops.add(power, np.float32(1e-5)))))
    return ops.multiply(ops.constant(np.ones((1, 1, size), np.float32)), scaled).output(0)


def _heads(x: ov.Node, heads: int, size: int) -> ov.Output:
    return ops.transpose(ops.reshape(x, np.array([0, 0, heads, size]), special_zero=True), np.array([0, 2, 1, 3])).output(0)


def _rotation(positions: ov.Node, shape: Shape) -> tuple[ov.Output, ov.Output]:
    frequency = (500000.0 ** (-np.arange(0, shape.head, 2) / shape.head)).astype(np.float32)
    angle = ops.multiply(ops.unsqueeze(ops.convert(positions, np.float32), np.array([-1])), ops.constant(frequency[None, None]))
    both = ops.unsqueeze(ops.concat([angle, angle], -1), np.array([1]))
    return ops.cos(both).output(0), ops.sin(both).output(0)


def _rotate(x: ov.Output, cosine: ov.Output, sine: ov.Output) -> ov.Output:
    half = x.get_partial_shape()[3].get_length() // 2
    halves = ops.variadic_split(x, ops.constant(3), np.array([half, half]))  # what the plugin joins to one RoPE node, as of exports
    turned = ops.concat([ops.multiply(halves.output(1), np.float32(-1)), halves.output(0)], -1)
    return ops.add(ops.multiply(x, cosine), ops.multiply(turned, sine)).output(0)


def _cache(x: ov.Output, name: str, shape: Shape, batch: ov.Output, beam: ov.Node) -> tuple[ov.Output, ov.Node]:
    past_shape = ov.PartialShape([-1, shape.kv_heads, -1, shape.head])
    empty_shape = ops.concat([batch, np.array([shape.kv_heads]), np.array([0]), np.array([shape.head])], 0)
    empty = ops.broadcast(ops.constant(np.float32(0)), empty_shape)
    info = ov.op.util.VariableInfo()
    info.data_shape, info.data_type, info.variable_id = past_shape, ov.Type.f32, name
    variable = ov.op.util.Variable(info)
    past = ops.gather(ops.read_value(empty, variable), beam, ops.constant(0))
    whole = ops.concat([past, x], 2)
    return whole.output(0), ops.assign(whole, variable)


def _repeat(x: ov.Output, shape: Shape) -> ov.Output:
    times = shape.heads // shape.kv_heads
    wide = ops.broadcast(ops.unsqueeze(x, np.array([2])), _ones_with(times), broadcast_spec="BIDIRECTIONAL")
    return ops.reshape(wide, np.array([0, shape.heads, -1, shape.head]), special_zero=True).output(0)


def _ones_with(times: int) -> np.ndarray:
    return np.array([1, 1, times, 1, 1], np.int64)


def _causal(ids: ov.Node, mask: ov.Node) -> ov.Output:
    """Additive mask [1, 1, T, P + T]: 0 where a position may be seen, a large negative number elsewhere."""
    new = ops.gather(ops.shape_of(ids), ops.constant(1), ops.constant(0))
    total = ops.gather(ops.shape_of(mask), ops.constant(1), ops.constant(0))
    rows = ops.range(ops.subtract(total, new), total, ops.constant(np.int64(1)), "i64")
    columns = ops.range(ops.constant(np.int64(0)), total, ops.constant(np.int64(1)), "i64")
    seen = ops.less_equal(ops.unsqueeze(columns, np.array([0])), ops.unsqueeze(rows, np.array([1])))
    bias = ops.select(seen, np.float32(0), np.float32(-65504))
    return ops.unsqueeze(bias, np.array([0, 1])).output(0)


def _input(name: str, shape: list[int], kind: type = np.int64) -> ov.Node:
    node = ops.parameter(ov.PartialShape(shape), kind, name=name)
    node.output(0).get_tensor().set_names({name})
    return node
