"""Random scap_ov::SparseBlock ops: packed, as the op, as a graph of single ops, and in float64 numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import erf
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from random_operands import random_operands
from reference import Operands, sparse_matmul

from scap_ov.passes.openvino.packed_sections import as_bytes, rows_of, write_sections
from scap_ov.passes.openvino.sparse_op import creator

OP = "SparseBlock"
SITES = ("o", "up", "down", "next")
_STEP = 64  # bytes between parts of the constant


@dataclass
class Block:
    """A block.

    :param sites: o, up, down, and next where there is one; their `x` is not used.
    :param norms: float32 [H], two of them, or one without next.
    :param levels: attributes of a dial for each site, or none.
    """

    sites: list[Operands]
    norms: list[np.ndarray]
    activation: str = "silu"
    eps: tuple[float, float] = (1e-5, 1e-6)
    levels: list[dict[str, Any]] | None = None

    @property
    def channels(self) -> tuple[int, int]:
        """K of o, H."""
        return len(self.sites[0].weight) // (1 if self.sites[0].step is None else 2), self.sites[0].n


def random_block(weight_type: str, *, k: int = 48, h: int = 96, hidden: int = 160, next_sizes: tuple[int, ...] = (96, 32, 32),
                 gated: bool = True, seed: int = 0, activation: str = "silu", **site: Any) -> Block:  # fmt: skip
    """Weights and constants as `random_operands` makes them, pruning by half by default; next_sizes empty: no next."""
    shapes = [(k, [h]), (h, [hidden] * (2 if gated else 1)), (hidden, [h]), (h, list(next_sizes))]
    sites = [random_operands(rows, sizes, weight_type, seed=seed + i, **site) for i, (rows, sizes) in enumerate(shapes) if sizes]
    rng = np.random.default_rng(seed)
    return Block(sites, [(rng.random(h) + 0.5).astype(np.float32) for _ in range(2 if next_sizes else 1)], activation)


def feeds_of(block: Block, *leading: int, seed: int = 9) -> list[np.ndarray]:
    """x and h of some rows."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((*leading, width)).astype(np.float32) for width in block.channels]


def packed_site(o: Operands) -> tuple[np.ndarray, dict[str, Any]]:
    """The packed constant of SparseMatMul, uint8 [rows, row_bytes], and its attributes."""
    none = np.zeros(0, np.uint8)
    byte = [none if array is None else np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            for array in (o.scale, o.zero_point)]  # fmt: skip
    floats = [none if array is None else as_bytes(array) for array in (o.center, o.threshold, o.compensation, o.base)]
    sections = [*byte, *floats]
    if o.step is not None:
        sections += [o.step.reshape(-1), o.offset.reshape(-1), none if o.whole_threshold is None else as_bytes(o.whole_threshold)]
    sizes = [section.size for section in sections]
    rows, row_bytes = o.weight.shape[0], o.weight.view(np.uint8).shape[1]
    constant = np.zeros((rows + rows_of(sizes, row_bytes), row_bytes), np.uint8)
    constant[:rows] = o.weight.view(np.uint8)
    write_sections(constant[rows:].reshape(-1), sections)
    attributes = {
        "weight_type": o.weight_type, "group_size": o.group_size, "output_sizes": o.output_sizes, "sections": sizes, "rows": o.rows,
        "scale_type": "" if o.scale is None else {2: "f16", 4: "f32"}[o.scale.itemsize], "max_sparse_rows": o.max_sparse_rows,
        "ramp": o.ramp, "dynamic_quantization": o.dynamic_quantization, "planes": int(o.step is not None), "step_group": o.step_group,
    }  # fmt: skip
    return constant, attributes


def packed_block(block: Block) -> tuple[np.ndarray, dict[str, Any]]:
    """The constant of SparseBlock, uint8 [bytes], and its attributes."""
    packed = [packed_site(site) for site in block.sites]
    absent = [-1] * (len(SITES) - len(packed))
    parts = [constant.reshape(-1) for constant, _ in packed] + [as_bytes(norm) for norm in block.norms]
    starts = np.cumsum([0, *(-(-part.size // _STEP) * _STEP for part in parts)])
    whole = np.zeros(starts[-1], np.uint8)
    for start, part in zip(starts, parts, strict=False):
        whole[start : start + part.size] = part
    places = [int(start) for start in starts[:-1]]
    attributes: dict[str, Any] = {
        "activation": block.activation, "eps_1": block.eps[0], "eps_2": block.eps[1],
        "offsets": [*places[: len(packed)], *absent, *places[len(packed) :], *absent],
        "packed_rows": [len(constant) for constant, _ in packed] + [0] * len(absent),
    }  # fmt: skip
    for i, (name, (_, site)) in enumerate(zip(SITES, packed, strict=False)):
        own = site | (block.levels[i] if block.levels else {})
        attributes |= {f"{name}_{key}": value for key, value in own.items() if key != "version"}
    return whole, attributes


def as_op(block: Block, inputs: tuple[ov.Node, ov.Node] | None = None) -> ov.Model:
    """x, h -> SparseBlock; float32 [?, ?, K] and [?, ?, H] by default."""
    x, h = inputs or (ops.parameter([-1, -1, width], np.float32) for width in block.channels)
    constant, attributes = packed_block(block)
    node = creator(OP)([x.output(0), h.output(0), ops.constant(constant).output(0)], attributes)
    return ov.Model(node.outputs(), [x, h])


def as_single_ops(block: Block) -> ov.Model:
    """The same of SparseMatMul and OpenVINO's own ops."""
    x, h = (ops.parameter([-1, -1, width], np.float32) for width in block.channels)
    create = creator()

    def site(i: int, node: ov.Node) -> list[ov.Output]:
        constant, attributes = packed_site(block.sites[i])
        if block.levels:
            attributes |= block.levels[i]
        return create([node.output(0), ops.constant(constant).output(0)], attributes).outputs()

    def norm(i: int, node: ov.Node) -> ov.Node:
        mean = ops.reduce_mean(ops.power(node, np.float32(2)), np.array([-1]), keep_dims=True)
        factor = ops.divide(np.float32(1), ops.sqrt(ops.add(mean, np.float32(block.eps[i]))))
        return ops.multiply(ops.multiply(node, factor), ops.constant(block.norms[i]))

    first = ops.add(h, site(0, x)[0])
    gate, *up = site(1, norm(0, first))
    active = {"silu": ops.swish, "gelu_tanh": lambda g: ops.gelu(g, "tanh"), "gelu_erf": lambda g: ops.gelu(g, "erf")}[block.activation](
        gate
    )
    second = ops.add(first, site(2, ops.multiply(active, up[0]) if up else active)[0])
    return ov.Model([second.output(0), *(site(3, norm(1, second)) if len(block.sites) == len(SITES) else [])], [x, h])


def expected(block: Block, x: np.ndarray, h: np.ndarray) -> list[np.ndarray]:
    """The outputs in float64, but what a product reads in float32."""
    rows = x.size // x.shape[-1]

    def product(i: int, values: np.ndarray) -> list[np.ndarray]:
        site = replace(block.sites[i], x=values.astype(np.float32), positions=x.shape[1])
        return np.split(sparse_matmul(site), np.cumsum(site.output_sizes)[:-1], axis=1)

    def norm(i: int, values: np.ndarray) -> np.ndarray:
        return values / np.sqrt((values**2).mean(axis=1, keepdims=True) + block.eps[i]) * block.norms[i]

    first = h.reshape(rows, -1).astype(np.float64) + product(0, x.reshape(rows, -1))[0]
    gate, *up = product(1, norm(0, first))
    active = _ACTIVATIONS[block.activation](gate)
    second = first + product(2, active * up[0] if up else active)[0]
    outputs = [second, *(product(3, norm(1, second)) if len(block.sites) == len(SITES) else [])]
    return [y.reshape(*x.shape[:-1], -1) for y in outputs]


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "silu": lambda g: g / (1 + np.exp(-g)),
    "gelu_tanh": lambda g: 0.5 * g * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3))),
    "gelu_erf": lambda g: g / 2 * (1 + np.vectorize(erf)(g / np.sqrt(2))),
}
