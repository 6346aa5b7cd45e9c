"""The derivative of ScaledDotProductAttention, in OpenVINO operations.

With P = softmax(Q·Kᵀ·s + mask) and O = P·V:  dV = Pᵀ·dO,  dP = dO·Vᵀ,  dS = P∘(dP − Σ dP∘P),  dQ = dS·K·s,  dK = dSᵀ·Q·s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_NEVER = -1e30  # of a masked score; e^(-1e30) is 0 and no row becomes NaN


def attention(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> list[ov.Output | None]:
    """Gradients of query, key and value; mask and scale have none."""
    q, k, v = (node.input_value(i) for i in range(3))
    scale = node.input_value(4) if node.get_input_size() > 4 else ops.constant(np.float32(_default_scale(q))).output(0)
    scaled = ops.multiply(q, scale)
    p = ops.softmax(_masked(node, ops.matmul(scaled, k, False, True)), -1)
    last = np.array([-1])
    weighted = ops.multiply(ops.matmul(g, v, False, True), p)
    inner = ops.subtract(weighted, ops.multiply(p, ops.reduce_sum(weighted, last, keep_dims=True)))
    found: list[ov.Output | None] = [
        ops.multiply(ops.matmul(inner, k, False, False), scale).output(0) if need[0] else None,
        _over_heads(ops.matmul(inner, scaled, True, False).output(0), k) if need[1] else None,
        _over_heads(ops.matmul(p, g, True, False).output(0), v) if need[2] else None,
    ]
    return found + [None] * (node.get_input_size() - 3)


def _over_heads(gradient: ov.Output, own: ov.Output) -> ov.Output:
    """Of keys or values whose one head all queries share, as in Falcon: the sum over the heads."""
    shape, got = own.get_partial_shape(), gradient.get_partial_shape()
    shared = [i for i in range(len(shape) - 2) if shape[i] == ov.Dimension(1) and got[i] != ov.Dimension(1)]
    return ops.reduce_sum(gradient, np.array(shared), keep_dims=True).output(0) if shared else gradient


def repeat_heads(model: ov.Model) -> None:
    """Write anew how keys and values are repeated for the query heads where the graph infers that they are empty. In place.

    openvino-genai's GGUF reader broadcasts to the length of the state that a sequence starts from, 0. The plugin fuses that away together
    with the state; without the state, or read by anything else, it fails.
    """
    for node in model.get_ops():
        if node.get_type_name() != "ScaledDotProductAttention":
            continue
        for port in (1, 2):
            value = node.input_value(port)
            length = value.get_partial_shape()[2]
            source = value
            while source.get_node().get_type_name() in ("Reshape", "Broadcast", "Unsqueeze"):
                source = source.get_node().input_value(0)
            shape = source.get_partial_shape()
            if length.is_dynamic or length.get_length() or len(shape) != 4:
                continue
            heads, wanted = shape[1].get_length(), node.input_value(0).get_partial_shape()[1].get_length()
            copies = ops.concat([ops.unsqueeze(source, np.array(2))] * (wanted // heads), 2)
            made = ops.reshape(copies, np.array([0, wanted, -1, shape[3].get_length()]), special_zero=True)
            node.input(port).replace_source_output(made.output(0))


def _masked(node: ov.Node, scores: ov.Node) -> ov.Node:
    if node.get_attributes()["causal"]:
        shape = ops.shape_of(scores)
        sizes = (ops.gather(shape, np.array(i), np.array(0)) for i in (-2, -1))
        rows, columns = (ops.range(np.array(0), size, np.array(1), output_type="i64") for size in sizes)
        seen = ops.less_equal(columns, ops.unsqueeze(rows, np.array([1])))
        return ops.select(seen, scores, ops.constant(np.float32(_NEVER)))
    if node.get_input_size() < 4 or not len(node.input_value(3).get_partial_shape()):
        return scores
    mask = node.input_value(3)
    if mask.get_element_type() == ov.Type.boolean:
        return ops.select(mask, scores, ops.constant(np.float32(_NEVER)))
    return ops.maximum(ops.add(scores, mask), ops.constant(np.float32(_NEVER)))


def _default_scale(q: ov.Output) -> float:
    return float(q.get_partial_shape()[-1].get_length()) ** -0.5
