"""Tiny OpenVINO models with any inputs and outputs around two residual FFN blocks. Imported by tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

HIDDEN, VOCABULARY = 32, 100


def named(node: ov.Node, name: str) -> ov.Node:
    """A node whose output has one name."""
    node.output(0).get_tensor().set_names({name})
    return node


def parameter(name: str, shape: Sequence[int], dtype: object = np.int64) -> ov.Node:
    """A named input."""
    return named(ops.parameter(list(shape), dtype, name=name), name)


class Weights:
    """Random weights, the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> ov.Node:
        return ops.constant((self.rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32))


def linear(value: ov.Node, weights: Weights, n: int) -> ov.Node:
    """A fully connected layer."""
    return ops.matmul(value, weights(n, value.get_output_partial_shape(0)[-1].get_length()), False, True)


def ffn(value: ov.Node, weights: Weights) -> ov.Node:
    """value + down(gelu(up(value)))"""
    inner = ops.gelu(linear(value, weights, 2 * HIDDEN), "erf")
    return ops.add(value, linear(inner, weights, HIDDEN))


def encoder(
    outputs: Callable[[ov.Node, Weights], dict[str, ov.Node]], *, tokens: str = "input_ids", hidden_first: bool = False, blocks: int = 2
) -> ov.Model:
    """Token ids [B, T] -> embeddings -> blocks -> whatever `outputs` makes of the hidden states.

    :param hidden_first: the blocks compute in [T, B, H], as models of fairseq do.
    """
    weights = Weights()
    ids = parameter(tokens, [-1, -1])
    hidden = ops.gather(weights(VOCABULARY, HIDDEN), ids, np.int32(0))
    hidden = ops.transpose(hidden, np.array([1, 0, 2])) if hidden_first else hidden
    for _ in range(blocks):
        hidden = ffn(hidden, weights)
    hidden = ops.transpose(hidden, np.array([1, 0, 2])) if hidden_first else hidden
    return ov.Model([named(node, name) for name, node in outputs(hidden, weights).items()], [ids], "tiny")


def logits(hidden: ov.Node, weights: Weights) -> dict[str, ov.Node]:
    """The output of a language model."""
    return {"logits": linear(hidden, weights, VOCABULARY)}


def token_samples(count: int = 6, length: int = 12, batch: int = 1) -> list[np.ndarray]:
    """Random token ids, int64 [batch, length]."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, VOCABULARY, (batch, length)) for _ in range(count)]


def computing_in(dtype: str, model: ov.Model) -> ov.Model:
    """A model of f32 as one that computes in another float type, its constants, states and outputs too; in place."""
    for node in model.get_ordered_ops():
        kind, attributes = node.get_type_name(), node.get_attributes()
        if kind == "Constant" and node.get_element_type() == ov.Type.f32:
            readers = node.output(0).get_target_inputs()
            narrow = ops.constant(node.data.astype(np.float16)) if dtype == "f16" else ops.convert(node, dtype)
            for port in readers:
                port.replace_source_output(narrow.output(0))
        if kind == "Convert" and attributes["destination_type"] == "f32":
            node.set_attribute("destination_type", dtype)
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            node.set_attribute("variable_type", dtype)
    model.validate_nodes_and_infer_types()
    return model
