"""What scap_ov::SparseExperts computes, in float64 numpy that shares nothing with the library, and how far float32 and int8 may stray."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from reference import Operands, dense_weight, sparse_matmul, tolerance

_EPSILON = 2.0**-23
_STEEPEST = 1.13  # derivative of every activation is below this
# erf of the GELU is within 1.5e-7 of the true one
_ACTIVATION_ERROR = 4e-7


@dataclass
class ExpertsOperands:
    """Inputs and attributes of one op; `up` and `down`: the weights of each expert. Their x is unused; thresholds are those of expert 0."""

    x: np.ndarray  # [T, K] float32 or float16
    ids: np.ndarray  # [T, k]
    routing: np.ndarray  # float32 [T, k]
    up: list[Operands]
    down: list[Operands]
    up_bias: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    down_bias: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    gate_up: str = "halves"
    activation: str = "silu"
    alpha: float = 1.0
    limit: float = 0.0
    rows: str = "decode"
    max_sparse_rows: int = 4
    positions: int = 1
    dynamic_quantization: bool = False


def pruned_tokens(o: ExpertsOperands) -> np.ndarray:
    """bool [T]."""
    count = len(o.x)
    if o.rows == "decode":
        return np.full(count, count <= o.max_sparse_rows)
    return np.ones(count, bool) if o.positions <= 1 else np.arange(count) % o.positions != 0


def sparse_experts(o: ExpertsOperands) -> tuple[np.ndarray, np.ndarray]:
    """y [T, N] in float64, and its tolerance."""
    pruned = pruned_tokens(o)
    y = np.zeros((len(o.x), o.down[0].n))
    allowed = np.full(y.shape, 1e-30)
    for token, (ids, routing) in enumerate(zip(o.ids, o.routing, strict=True)):
        for expert, factor in zip(ids, routing.astype(np.float64), strict=True):
            one, error = _expert(o, int(expert), o.x[token : token + 1].astype(np.float32), bool(pruned[token]))
            y[token] += factor * one
            allowed[token] += abs(factor) * (error + len(ids) * _EPSILON * np.abs(one))
    if o.x.dtype == np.float16:
        allowed += 2.0**-11 * np.abs(y) + 2.0**-25
    return y, allowed


def activation(o: ExpertsOperands, gate: np.ndarray) -> np.ndarray:
    """Of gate, float64."""
    from math import erf

    with np.errstate(over="ignore"):
        if o.activation == "silu":
            return gate / (1 + np.exp(-gate))
        if o.activation == "gelu_tanh":
            return gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        if o.activation == "gelu_erf":
            return gate / 2 * (1 + np.vectorize(erf)(gate / np.sqrt(2)))
        gate = np.minimum(gate, o.limit)
        return gate / (1 + np.exp(-o.alpha * gate))


def _expert(o: ExpertsOperands, expert: int, x: np.ndarray, pruned: bool) -> tuple[np.ndarray, np.ndarray]:
    """One token through one expert: [N] and its tolerance."""
    both, error = _product(o, o.up[expert], o.up[0], x, pruned)
    if o.up_bias.size:
        both = both + o.up_bias[expert]
    half = both.size // 2
    gate, up = (both[0::2], both[1::2]) if o.gate_up == "interleaved" else (both[:half], both[half:])
    gate_error, up_error = (error[0::2], error[1::2]) if o.gate_up == "interleaved" else (error[:half], error[half:])
    if o.activation == "clamped_swiglu":
        up = np.clip(up, -o.limit, o.limit) + 1
    value = activation(o, gate)
    hidden = value * up
    hidden_error = _STEEPEST * gate_error * (np.abs(up) + up_error) + np.abs(value) * up_error
    hidden_error += _ACTIVATION_ERROR * np.abs(gate) * np.abs(up) + 8 * _EPSILON * np.abs(hidden)
    y, allowed = _product(o, o.down[expert], o.down[0], hidden[None].astype(np.float32), pruned)
    weight = np.maximum(*(np.abs(part) for part in dense_weight(o.down[expert])))
    allowed = allowed + 1.01 * hidden_error @ weight
    if pruned:  # values so near to a threshold that they may fall on either side of it
        moved = np.abs(hidden - o.down[0].center)
        for threshold in (o.down[0].threshold, o.down[0].whole_threshold):
            if threshold is not None:
                allowed = allowed + np.where(np.abs(moved - threshold) <= hidden_error + 1e-6 * moved, moved, 0) @ weight
    return (y + o.down_bias[expert] if o.down_bias.size else y), allowed


def _product(o: ExpertsOperands, weights: Operands, shared: Operands, x: np.ndarray, pruned: bool) -> tuple[np.ndarray, np.ndarray]:
    one = replace(
        weights,
        x=x,
        rows="all",
        positions=1,
        dynamic_quantization=o.dynamic_quantization,
        center=shared.center,
        threshold=shared.threshold,
        whole_threshold=shared.whole_threshold,
    )
    if not pruned:
        one = replace(one, center=np.zeros(1, np.float32), threshold=np.full(1, -1, np.float32), whole_threshold=None, base=None)
    return sparse_matmul(one)[0], tolerance(one)[0]
