"""Write a Llama decoder with its KV cache as inputs and outputs as ONNX straight from weights: no torch.

Inputs and outputs are those of `optimum-cli export onnx --task text-generation-with-past`: input_ids, attention_mask, position_ids,
past_key_values.N.key and .value; logits, present.N.key and .value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from scap_ov.sample_models.onnx_drawing import OnnxGraphBuilder
from scap_ov.sample_models.random_llm import Shape


@dataclass(frozen=True)
class Rotary:
    """Base of the rotary embedding, and the epsilon of the norms."""

    base: float = 10000.0
    epsilon: float = 1e-5


def decoder(shape: Shape, weights: Mapping[str, np.ndarray], rotary: Rotary) -> onnx.ModelProto:
    """The model.

    :param weights: by Hugging Face's names: model.embed_tokens.weight, model.layers.N.self_attn.q_proj.weight, …, model.norm.weight,
        and lm_head.weight where it is not tied to the embedding.
    """
    d = OnnxGraphBuilder(shape.name, weights)
    ids = d.input("input_ids", ["batch", "sequence"])
    mask = d.input("attention_mask", ["batch", "total"])
    positions = d.input("position_ids", ["batch", "sequence"])
    cosine, sine = _rotation(d, positions, shape, rotary)
    bias = _bias(d, ids, mask)
    x = d.op("Gather", d.weight("model.embed_tokens.weight"), ids, axis=0)
    outputs: dict[str, tuple[ir.Value, list[int | str]]] = {}
    for number in range(shape.layers):
        block = f"model.layers.{number}"
        attended, cache = _attention(d, _norm(d, x, f"{block}.input_layernorm", rotary), shape, number, (cosine, sine, bias))
        x = d.op("Add", x, attended)
        normed = _norm(d, x, f"{block}.post_attention_layernorm", rotary)
        gate, up = d.linear(normed, f"{block}.mlp.gate_proj"), d.linear(normed, f"{block}.mlp.up_proj")
        product = d.op("Mul", d.op("Mul", gate, d.op("Sigmoid", gate)), up)
        x = d.op("Add", x, d.linear(product, f"{block}.mlp.down_proj"))
        for part, value in cache.items():
            outputs[f"present.{number}.{part}"] = (value, ["batch", shape.kv_heads, "total", shape.head])
    final = _norm(d, x, "model.norm", rotary)
    if "lm_head.weight" in weights:
        logits = d.linear(final, "lm_head")
    else:  # tied
        turned = d.op("Transpose", d.weight("model.embed_tokens.weight"), perm=[1, 0], name="/lm_head/Transpose")
        logits = d.op("MatMul", final, turned, name="/lm_head/MatMul")
    return ir.to_proto(d.model({"logits": (logits, ["batch", "sequence", shape.vocabulary]), **outputs}))


def random_weights(shape: Shape, seed: int = 0, *, tied: bool = False) -> dict[str, np.ndarray]:
    """Weights for `decoder`, float32, of a size that keeps activations near one."""
    rng = np.random.default_rng(seed)
    wide = shape.kv_heads * shape.head
    square = (shape.hidden, shape.hidden)
    sizes = {
        "self_attn.q_proj": square, "self_attn.k_proj": (wide, shape.hidden), "self_attn.v_proj": (wide, shape.hidden),
        "self_attn.o_proj": square, "mlp.gate_proj": (shape.ffn, shape.hidden), "mlp.up_proj": (shape.ffn, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.ffn),
    }  # fmt: skip
    found = {"model.embed_tokens.weight": rng.standard_normal((shape.vocabulary, shape.hidden)), "model.norm.weight": np.ones(shape.hidden)}
    if not tied:
        found["lm_head.weight"] = rng.standard_normal((shape.vocabulary, shape.hidden))
    for number in range(shape.layers):
        block = f"model.layers.{number}"
        found |= {f"{block}.{name}.weight": rng.standard_normal(size) / np.sqrt(size[1]) for name, size in sizes.items()}
        found |= {f"{block}.{name}.weight": np.ones(shape.hidden) for name in ("input_layernorm", "post_attention_layernorm")}
    return {name: values.astype(np.float32) for name, values in found.items()}


def _norm(d: OnnxGraphBuilder, x: ir.Value, name: str, rotary: Rotary) -> ir.Value:
    mean = d.op("ReduceMean", d.op("Pow", x, d.number(2.0)), d.integers(-1), keepdims=1)
    scaled = d.op("Mul", x, d.op("Div", d.number(1.0), d.op("Sqrt", d.op("Add", mean, d.number(rotary.epsilon)))))
    return d.op("Mul", scaled, d.weight(f"{name}.weight"))


def _attention(
    d: OnnxGraphBuilder, x: ir.Value, shape: Shape, number: int, around: tuple[ir.Value, ir.Value, ir.Value]
) -> tuple[ir.Value, dict[str, ir.Value]]:
    """Grouped attention; the grown cache by `key` and `value`."""
    cosine, sine, bias = around
    block = f"model.layers.{number}.self_attn"
    q = _rotate(d, d.heads(d.linear(x, f"{block}.q_proj"), shape.heads, shape.head), cosine, sine, shape.head)
    k = _rotate(d, d.heads(d.linear(x, f"{block}.k_proj"), shape.kv_heads, shape.head), cosine, sine, shape.head)
    v = d.heads(d.linear(x, f"{block}.v_proj"), shape.kv_heads, shape.head)
    cache = {}
    for part, new in (("key", k), ("value", v)):
        past = d.input(f"past_key_values.{number}.{part}", ["batch", shape.kv_heads, "past", shape.head], np.float32)
        cache[part] = d.op("Concat", past, new, axis=2)
    k, v = (_repeat(d, cache[part], shape) for part in ("key", "value"))
    scores = d.op("Mul", d.op("MatMul", q, d.op("Transpose", k, perm=[0, 1, 3, 2])), d.number(shape.head**-0.5))
    y = d.op("MatMul", d.op("Softmax", d.op("Add", scores, bias), axis=-1), v)
    return d.linear(d.joined(y, shape.hidden), f"{block}.o_proj"), cache


def _repeat(d: OnnxGraphBuilder, x: ir.Value, shape: Shape) -> ir.Value:
    """Each head of the cache for the heads of its group."""
    times = shape.heads // shape.kv_heads
    if times == 1:
        return x
    wide = d.op("Expand", d.op("Unsqueeze", x, d.integers(2)), d.integers(1, 1, times, 1, 1))
    return d.op("Reshape", wide, d.integers(0, shape.heads, -1, shape.head))


def _rotation(d: OnnxGraphBuilder, positions: ir.Value, shape: Shape, rotary: Rotary) -> tuple[ir.Value, ir.Value]:
    frequency = (rotary.base ** (-np.arange(0, shape.head, 2) / shape.head)).astype(np.float32)
    position = d.op("Unsqueeze", d.op("Cast", positions, to=ir.DataType.FLOAT.value), d.integers(-1))
    angle = d.op("Mul", position, d.array("inv_freq", frequency[None, None]))
    both = d.op("Unsqueeze", d.op("Concat", angle, angle, axis=-1), d.integers(1))
    return d.op("Cos", both), d.op("Sin", both)


def _rotate(d: OnnxGraphBuilder, x: ir.Value, cosine: ir.Value, sine: ir.Value, size: int) -> ir.Value:
    low = d.op("Slice", x, d.integers(0), d.integers(size // 2), d.integers(-1))
    high = d.op("Slice", x, d.integers(size // 2), d.integers(size), d.integers(-1))
    turned = d.op("Concat", d.op("Neg", high), low, axis=-1)
    return d.op("Add", d.op("Mul", x, cosine), d.op("Mul", turned, sine))


def _bias(d: OnnxGraphBuilder, ids: ir.Value, mask: ir.Value) -> ir.Value:
    """Additive mask [B, 1, T, P + T]: 0 where a position may be seen, a large negative number elsewhere."""
    zero, one = d.array("zero", np.array(0, np.int64)), d.array("one", np.array(1, np.int64))
    new = d.op("Squeeze", d.op("Shape", ids, start=1, end=2))
    total = d.op("Squeeze", d.op("Shape", mask, start=1, end=2))
    rows = d.op("Unsqueeze", d.op("Range", d.op("Sub", total, new), total, one), d.integers(1))
    before = d.op("LessOrEqual", d.op("Range", zero, total, one), rows)
    there = d.op("Cast", d.op("Unsqueeze", mask, d.integers(1, 2)), to=ir.DataType.BOOL.value)
    return d.op("Where", d.op("And", there, before), d.number(0.0), d.number(-65504.0))
