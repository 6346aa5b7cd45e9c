"""Write a BERT sentence encoder as ONNX straight from its safetensors: no torch.

The graph is what optimum-cli exports of a sentence-transformers model: token_embeddings, and their normalised mean.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx_ir as ir
from safetensors.numpy import load_file

from scap_ov.errors import BadModelError
from scap_ov.sample_models.onnx_drawing import OnnxGraphBuilder


def encoder(folder: Path, *, layers: int | None = None) -> onnx.ModelProto:
    """The model of a folder with config.json and model.safetensors.

    :param layers: only the first ones; all by default.
    :return: inputs input_ids, attention_mask, token_type_ids int64 [B, T]; outputs token_embeddings f32 [B, T, H] and
        sentence_embedding f32 [B, H].
    :raises BadModelError: it is no BERT.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
        msg = f"{folder} holds a {config.get('model_type')} with {config.get('hidden_act')}; give a BERT with gelu"
        raise BadModelError(msg)
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    d = OnnxGraphBuilder("bert", load_file(folder / "model.safetensors"))
    ids, mask, kinds = (d.input(name, ["batch", "sequence"]) for name in ("input_ids", "attention_mask", "token_type_ids"))
    length = d.op("Shape", ids, start=1, end=2)
    positions = d.op("Slice", d.weight("embeddings.position_embeddings.weight"), d.integers(0), length, d.integers(0))
    x = d.op("Gather", d.weight("embeddings.word_embeddings.weight"), ids, axis=0)
    x = d.op("Add", x, d.op("Gather", d.weight("embeddings.token_type_embeddings.weight"), kinds, axis=0))
    x = _norm(d, d.op("Add", x, positions), "embeddings.LayerNorm", config)
    seen = d.op("Cast", d.op("Unsqueeze", mask, d.integers(1, 2)), to=ir.DataType.FLOAT.value)
    bias = d.op("Mul", d.op("Sub", d.number(1.0), seen), d.number(-1e9))
    for number in range(int(config["num_hidden_layers"]) if layers is None else layers):
        block = f"encoder.layer.{number}"
        x = _norm(d, d.op("Add", _attention(d, x, bias, block, hidden, heads), x), f"{block}.attention.output.LayerNorm", config)
        y = d.linear(_gelu(d, d.linear(x, f"{block}.intermediate.dense", bias=True)), f"{block}.output.dense", bias=True)
        x = _norm(d, d.op("Add", y, x), f"{block}.output.LayerNorm", config)
    weighted = d.op("Cast", d.op("Unsqueeze", mask, d.integers(2)), to=ir.DataType.FLOAT.value)
    total = d.op("ReduceSum", d.op("Mul", x, weighted), d.integers(1), keepdims=0)
    mean = d.op("Div", total, d.op("ReduceSum", weighted, d.integers(1), keepdims=0))
    sentence = d.op("Div", mean, d.op("ReduceL2", mean, d.integers(1), keepdims=1))
    model = d.model({
        "token_embeddings": (x, ["batch", "sequence", hidden]),
        "sentence_embedding": (sentence, ["batch", hidden]),
    })  # fmt: skip
    return ir.to_proto(model)


def _norm(d: OnnxGraphBuilder, x: ir.Value, name: str, config: dict) -> ir.Value:
    return d.op("LayerNormalization", x, d.weight(f"{name}.weight"), d.weight(f"{name}.bias"), name=f"/{name.replace('.', '/')}",
                axis=-1, epsilon=float(config["layer_norm_eps"]))  # fmt: skip


def _gelu(d: OnnxGraphBuilder, x: ir.Value) -> ir.Value:
    half = d.op("Add", d.op("Erf", d.op("Div", x, d.number(2.0**0.5))), d.number(1.0))
    return d.op("Mul", d.op("Mul", x, half), d.number(0.5))


def _attention(d: OnnxGraphBuilder, x: ir.Value, bias: ir.Value, block: str, hidden: int, heads: int) -> ir.Value:
    size = hidden // heads
    q, k, v = (d.heads(d.linear(x, f"{block}.attention.self.{name}", bias=True), heads, size) for name in ("query", "key", "value"))
    scores = d.op("Div", d.op("MatMul", q, d.op("Transpose", k, perm=[0, 1, 3, 2])), d.number(size**0.5))
    weights = d.op("Softmax", d.op("Add", scores, bias), axis=-1)
    return d.linear(d.joined(d.op("MatMul", weights, v), hidden), f"{block}.attention.output.dense", bias=True)
