"""A layer of routed experts as a whole model, in the forms that exporters write, and what it should give. Imported by tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.openvino.write_experts import ExpertLayers, write_experts
from scap_ov.passes.rules.experts import Activation
from scap_ov.sample_models.synthetic import random_weight
from scap_ov.sites import WeightSpec

SPECS = {
    "f32": WeightSpec("f32"),
    "i8": WeightSpec("i8", 0, "f16"),  # per channel: the group size is set to K
    "u8": WeightSpec("u8", 0, "f16", has_zero_point=True),
    "i4": WeightSpec("i4", 32, "f16"),
    "u4": WeightSpec("u4", 32, "f16", has_zero_point=True),
}
CLAMPED = Activation("clamped_swiglu", float(np.float32(1.702)), 7.0)


@dataclass(frozen=True)
class Experts:
    """A model x [B, T, K], scores [T', E] -> y, and its weights in float64."""

    model: ov.Model
    up: list[np.ndarray]
    down: np.ndarray
    biases: tuple[np.ndarray | None, np.ndarray | None]
    activation: Activation
    used: int

    def answer(self, x, scores, threshold=(-1.0, -1.0), center=(0.0, 0.0), pruned=None):
        """y in float64, [T, H], and the inputs of the last product of the chosen experts [T, k, N].

        :param pruned: which tokens are pruned, bool [T]; all by default.
        """
        tokens = x.reshape(-1, x.shape[-1]).astype(np.float64)
        pruned = np.ones(len(tokens), bool) if pruned is None else pruned
        ids = np.argsort(-scores, axis=1, kind="stable")[:, : self.used]
        values = np.take_along_axis(scores, ids, 1).astype(np.float64)
        routing = np.exp(values - values.max(1, keepdims=True))
        routing /= routing.sum(1, keepdims=True)
        y, hidden = np.zeros((len(tokens), self.down.shape[1])), np.zeros((*ids.shape, self.down.shape[2]))
        for t, row in enumerate(tokens):
            x_t = drop(row, threshold[0], center[0]) if pruned[t] else row
            for j, e in enumerate(ids[t]):
                parts = [w[e] @ x_t for w in self.up]
                h = hidden[t, j] = self._gated(parts, e)
                h = drop(h, threshold[1], center[1]) if pruned[t] else h
                y[t] += routing[t, j] * (self.down[e] @ h + (0 if self.biases[1] is None else self.biases[1][e]))
        return y, hidden

    def _gated(self, parts, expert):
        if self.biases[0] is not None:
            parts = [parts[0] + self.biases[0][expert]]
        if self.activation.kind == "silu":
            return parts[0] / (1 + np.exp(-parts[0])) * parts[1]
        limit = self.activation.limit
        gate, up = np.minimum(parts[0][0::2], limit), np.clip(parts[0][1::2], -limit, limit)
        return (up + 1) * gate / (1 + np.exp(-self.activation.alpha * gate))


def drop(values, threshold, center):
    return np.where(np.abs(values - center) > threshold, values, center)


def experts_model(form="f32", *, experts=4, used=2, k=64, n=32, activation=None, biased=False, seed=0, rank=3,
                  apart=False, left_out=-np.inf) -> Experts:  # fmt: skip
    """A layer of routed experts whose router is an input.

    :param apart: two experts are chosen one after the other, as in Phi-MoE; the first one's score is `left_out` for the second choice.
    """
    rng = np.random.default_rng(seed)
    activation = activation or Activation("silu")
    x = ops.parameter([-1] * (rank - 1) + [k], np.float32, name="x")
    scores = ops.parameter([-1, experts], np.float32, name="scores")
    ids, values = _apart(scores, left_out) if apart else ops.topk(scores, np.array(used), -1, "max", "value").outputs()[::-1]
    shapes = [(n, k), (n, k), (k, n)] if activation.kind == "silu" else [(2 * n, k), (k, n)]
    weights = [random_weight(*shape, per_channel(SPECS[form], shape[1]), rng, experts) for shape in shapes]
    biases = tuple(rng.standard_normal((experts, size)).astype(np.float32) / 4 for size in (2 * n, k)) if biased else (None, None)
    names = [f"layers.0.experts.{name}" for name in ("gate", "up", "down")[-len(weights) :]]
    layers = ExpertLayers(weights[:-1], weights[-1], names, biases)
    y = write_experts(x.output(0), ids, ops.softmax(values, 1).output(0), layers, activation)
    y.get_tensor().set_names({"y"})
    model = ov.Model([y], [x, scores], "experts")
    dense = [evaluated(weight) for weight in weights]
    return Experts(model, dense[:-1], dense[-1], biases, activation, used)


def _apart(scores: ov.Node, left_out: float) -> list[ov.Output]:
    """Ids and scores of two experts."""
    first = ops.topk(scores, np.array(1), -1, "max", "none").output(1)
    instead = ops.broadcast(ops.constant(np.float32(left_out)), ops.shape_of(first))
    second = ops.topk(ops.scatter_elements_update(scores, first, instead, np.array(-1)), np.array(1), -1, "max", "none").output(1)
    values = ops.concat([ops.gather_elements(scores, one, -1) for one in (first, second)], -1)
    whole = ops.shape_of(values)  # torch.scatter cuts what it puts in to the shape of the places
    cut = ops.slice(values, np.array([0, 0]), whole, np.array([1, 1]), np.array([0, 1]))
    return [ops.concat([first, second], -1).output(0), cut.output(0)]


def per_channel(spec: WeightSpec, k: int) -> WeightSpec:
    if spec.dtype in ("i8", "u8"):
        return WeightSpec(spec.dtype, k, spec.scale_dtype, spec.has_zero_point)
    return spec


def evaluated(value: ov.Output) -> np.ndarray:
    """What a chain of constants gives, computed by OpenVINO: what our reading of it is held to."""
    compiled = ov.Core().compile_model(ov.Model([ops.result(value)], [], "w"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([])[0].astype(np.float64)


def tokens(batch: int, length: int, k: int = 64, experts: int = 4, seed: int = 3) -> list[np.ndarray]:
    """x [B, T, K] and scores [B · T, E]."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((batch, length, k), np.float32), rng.standard_normal((batch * length, experts), np.float32)]
