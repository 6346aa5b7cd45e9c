"""Write a layer of routed experts in standard ops, as optimum-cli does it and the CPU plugin recognises it. Read by: match_experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory

from scap_ov.passes.rules.experts import Activation

_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class ExpertLayers:
    """What multiplies in a layer of routed experts.

    :param up: weights of gate and up [E, N, K], or the one weight of both.
    :param down: weight [E, H, N].
    :param names: of the products, in this order.
    :param biases: float32 [E, N'] behind `up` and behind `down`, or None.
    """

    up: Sequence[ov.Output]
    down: ov.Output
    names: Sequence[str]
    biases: tuple[np.ndarray | None, np.ndarray | None] = (None, None)


def write_experts(x: ov.Output, ids: ov.Output, routing: ov.Output, layers: ExpertLayers, activation: Activation) -> ov.Output:
    """The tiled block: every token through every expert, the sum weighted by the routing, which is 0 but for the chosen.

    :param x: tokens, float [..., K].
    :param ids: integer [T, k].
    :param routing: float [T, k].
    :return: [T, H].
    """
    count, width, _ = layers.down.get_partial_shape().to_shape()
    inputs = layers.up[0].get_partial_shape()[-1].get_length()
    tokens = _view(x, [-1, inputs])
    tiled = _view(ops.tile(tokens, ops.constant(np.array([count, 1], np.int64))).output(0), [count, -1, inputs])
    up = [_product(tiled, weight, name, layers.biases[0]) for weight, name in zip(layers.up, layers.names, strict=False)]
    hidden = _gated(up, activation)
    out = _view(_product(hidden, layers.down, layers.names[-1], layers.biases[1]), [count, -1, width])
    shape = ops.concat([ops.gather(ops.shape_of(ids), np.array([0]), np.array(0)), ops.constant(np.array([count], np.int64))], 0)
    zeros = ops.broadcast(ops.constant(np.float32(0)), shape)
    zeros = zeros if routing.get_element_type() == ov.Type.f32 else ops.convert(zeros, routing.get_element_type().get_type_name())
    dense = ops.scatter_elements_update(zeros, ops.convert(ids, np.int32), routing, ops.constant(np.array(1, np.int64)))
    weights = ops.unsqueeze(ops.transpose(dense, np.array([1, 0], np.int32)), np.array(2, np.int64))
    return ops.reduce_sum(ops.multiply(out, weights), np.array([0], np.int64), keep_dims=False).output(0)


def _product(x: ov.Output, weight: ov.Output, name: str, bias: np.ndarray | None) -> ov.Output:
    matmul = ops.matmul(x, weight, False, True)
    matmul.set_friendly_name(name)
    return matmul.output(0) if bias is None else ops.add(matmul, ops.constant(bias[:, None, :].astype(np.float32))).output(0)


def _gated(up: Sequence[ov.Output], activation: Activation) -> ov.Output:
    """act(gate) · up."""
    if activation.kind == "clamped_swiglu":
        gate, other = (ops.slice(up[0], np.array([start]), np.array([_END]), np.array([2]), np.array([2])) for start in (0, 1))
        limit = np.float32(activation.limit)
        gate = ops.swish(ops.minimum(gate, ops.constant(limit.reshape(1, 1, 1))), ops.constant(np.float32(activation.alpha)))
        other = ops.add(ops.clamp(other, -activation.limit, activation.limit), ops.constant(np.ones((1, 1, 1), np.float32)))
        return ops.multiply(other, gate).output(0)
    if activation.kind == "silu":
        # ops.swish would add a beta of 1, with which the plugin does not recognise the block
        return ops.multiply(NodeFactory("opset4").create("Swish", [up[0]], {}), up[1]).output(0)
    return ops.multiply(ops.gelu(up[0], activation.kind.removeprefix("gelu_")), up[1]).output(0)


def _view(value: ov.Output, shape: list[int]) -> ov.Output:
    return ops.reshape(value, ops.constant(np.array(shape, np.int64)), special_zero=False).output(0)
