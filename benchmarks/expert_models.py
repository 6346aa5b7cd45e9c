"""Blocks of routed experts with random weights: as exporters write them (tiled, one batched product a projection), and as our op.

Stock OpenVINO makes three GatherMatmul of such a block. Each block waits for the one before; every block has a router of its own, so that
blocks choose different experts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.benchmarking.site_models import entry_for
from scap_ov.custom_ops.formats import pack
from scap_ov.passes.openvino.experts_op import OP, Experts, Stage, build
from scap_ov.passes.openvino.packed_site import PackedSite, split_site
from scap_ov.passes.openvino.sparse_op import creator
from scap_ov.passes.openvino.write_experts import ExpertLayers, write_experts
from scap_ov.passes.rules.experts import Activation
from scap_ov.plan import SitePlan
from scap_ov.storage.aligned import save_aligned


@dataclass(frozen=True)
class ExpertShape:
    """Sizes of one block."""

    hidden: int
    ffn: int
    experts: int
    choices: int


SHAPES = {
    "qwen3-30b-a3b": ExpertShape(2048, 768, 128, 8),
    "mixtral-8x7b": ExpertShape(4096, 14336, 8, 2),
    "qwen1.5-moe-a2.7b": ExpertShape(2048, 1408, 60, 4),
}
GROUP = {"i4": 128, "i8": 0}  # 0: one scale per output channel


@dataclass(frozen=True)
class Projection:
    """One weight of all experts: raw int8 [E, N, K] for i8, bytes of two nibbles [E, N, K/2] for i4; scale float16 [E, N, G]."""

    raw: np.ndarray
    scale: np.ndarray
    weights: str

    @property
    def k(self) -> int:
        """Input channels."""
        return self.raw.shape[2] * (2 if self.weights == "i4" else 1)

    def values(self, expert: int) -> np.ndarray:
        """Of one expert, int8 [N, K]."""
        if self.weights == "i8":
            return self.raw[expert].view(np.int8)
        low, high = self.raw[expert] & 15, self.raw[expert] >> 4
        nibbles = np.stack([low, high], -1).reshape(len(low), -1)
        return (((nibbles + 8) & 15).astype(np.int8) - 8).astype(np.int8)

    def dequantized(self, expert: int) -> np.ndarray:
        """Of one expert, float32 [N, K]."""
        spread = self.k // self.scale.shape[2]
        return self.values(expert) * np.repeat(self.scale[expert].astype(np.float32), spread, axis=1)

    def constant(self) -> ov.Output:
        """The decompression chain, f32 [E, N, K]."""
        experts, n = self.raw.shape[:2]
        groups = self.scale.shape[2]
        shape = [experts, n, groups, self.k // groups] if groups > 1 else [experts, n, self.k]
        tensor = ov.Tensor(ov.Type.i4 if self.weights == "i4" else ov.Type.i8, ov.Shape(shape))
        np.copyto(tensor.data.reshape(-1).view(np.uint8), self.raw.reshape(-1).view(np.uint8))
        value = ops.convert(ov.op.Constant(tensor), np.float16)
        scale = self.scale[..., None] if groups > 1 else self.scale
        value = ops.multiply(value, ops.constant(np.ascontiguousarray(scale)))
        if groups > 1:
            value = ops.reshape(value, np.array([experts, n, self.k]), special_zero=False)
        return ops.convert(value, np.float32).output(0)


def random_block(shape: ExpertShape, weights: str, seed: int) -> list[Projection]:
    """Gate, up and down."""
    rng = np.random.default_rng(seed)
    sizes = [(shape.ffn, shape.hidden), (shape.ffn, shape.hidden), (shape.hidden, shape.ffn)]
    return [_random_projection(rng, shape.experts, n, k, weights) for n, k in sizes]


def _random_projection(rng: np.random.Generator, experts: int, n: int, k: int, weights: str) -> Projection:
    group = GROUP[weights] or k
    bits = 4 if weights == "i4" else 8
    raw = np.frombuffer(rng.bytes(experts * n * k * bits // 8), np.uint8).reshape(experts, n, -1)
    scale = (rng.random((experts, n, k // group), np.float32) + 0.5) * 3.4 / (2**bits * np.sqrt(k))
    return Projection(raw, scale.astype(np.float16), weights)


@dataclass(frozen=True)
class Level:
    """What a token leaves unread.

    :param share: of the bytes.
    :param way: `channels` that are dropped, `grades` of channels, or whole `experts`.
    """

    share: float
    way: str = "channels"

    @classmethod
    def parse(cls, text: str) -> Level:
        """`0.5` of channels, `0.5g` by grades, `0.5e` of experts."""
        way = {"g": "grades", "e": "experts"}.get(text[-1:], "channels")
        return cls(float(text.rstrip("ge")), way)

    def __str__(self) -> str:
        """Inverse of `parse`."""
        return f"{self.share:g}{'' if self.way == 'channels' else self.way[0]}"


def write_pair(shape: ExpertShape, weights: str, blocks: int, levels: list[Level], folder: Path) -> dict[str, Path]:
    """`stock.xml`, and a file for each level, by what they hold: `stock`, `0`, `0.5`, `0.5g`, `0.5e`. Files that are there stay."""
    block = random_block(shape, weights, 0)
    routers = [np.random.default_rng(1 + number).standard_normal((shape.experts, shape.hidden), np.float32) for number in range(blocks)]
    files = {"stock": folder / "stock.xml", **{str(level): folder / f"ours{level}.xml" for level in levels}}
    if not files["stock"].exists():
        stock = _model(shape, routers, lambda number, x, ids, routing: _tiled(_apart(block, number), x, ids, routing))
        ov.save_model(stock, files["stock"])
    create = creator(OP)
    for graded in (False, True):
        missing = [level for level in levels if (level.way == "grades") is graded and not files[str(level)].exists()]
        if not missing:
            continue
        sites = [[split_site(site) if graded else site for site in _sites(part)] for part in (block[:2], block[2:])]
        for level in missing:
            entries = _entries(block, level)

            def ours(number: int, x: ov.Output, ids: ov.Output, routing: ov.Output, entries: list[SitePlan] = entries,
                     sites: list[list[PackedSite]] = sites) -> ov.Output:  # fmt: skip
                zero = np.full(1, number * 1e-30, np.float32)  # a centre of its own, so that files hold every block's constant
                none = np.zeros(0, np.float32)
                stages = [Stage(own, zero, e.threshold, whole_threshold=none if e.whole_threshold is None else e.whole_threshold)
                          for own, e in zip(sites, entries, strict=True)]  # fmt: skip
                return build(create, x, ids, routing, Experts(*stages), dynamic_quantization=True).output(0)

            chosen = round(shape.choices * (1 - level.share)) if level.way == "experts" else shape.choices
            save_aligned(_model(replace(shape, choices=chosen), routers, ours), files[str(level)])
    return files


def _apart(block: list[Projection], number: int) -> list[Projection]:
    """The block's weights with another first byte, so that a file holds them once for each block."""
    changed = []
    for projection in block:
        raw = projection.raw.copy()
        raw[0, 0, 0] ^= number
        changed.append(Projection(raw, projection.scale, projection.weights))
    return changed


def _sites(layers: list[Projection]) -> Iterator[PackedSite]:
    """Each expert, packed."""
    for expert in range(len(layers[0].raw)):
        raw = np.concatenate([layer.values(expert) for layer in layers])
        scale = np.concatenate([layer.scale[expert] for layer in layers]).T
        padded = np.pad(scale, ((0, 0), (0, -scale.shape[1] % 64)))
        weights = layers[0].weights
        sizes, stored = tuple(len(layer.raw[expert]) for layer in layers), np.ascontiguousarray(padded).reshape(-1).view(np.uint8)
        yield PackedSite(weights, GROUP[weights] or layers[0].k, "f16", sizes, pack(raw, weights), stored, np.zeros(0, np.uint8))


def _entries(block: list[Projection], level: Level) -> list[SitePlan]:
    """Thresholds for a normal x, and for what it becomes between the products of the first expert."""
    x = np.random.default_rng(7).standard_normal((64, block[0].k), np.float32)
    gate, up = (x @ layer.dequantized(0).T for layer in block[:2])
    hidden = gate / (1 + np.exp(-gate)) * up
    share, graded = 0.0 if level.way == "experts" else level.share, level.way == "grades"
    return [entry_for(name, np.abs(values).reshape(-1), share, graded=graded) for name, values in (("up", x), ("down", hidden))]


def _model(shape: ExpertShape, routers: list[np.ndarray], block: Any) -> ov.Model:
    """From x f32 [rows, 1, hidden], rows dynamic, through the blocks."""
    x = ops.parameter([-1, 1, shape.hidden], np.float32, name="x")
    current: ov.Node = x
    for number, router in enumerate(routers):
        flat = ops.reshape(current, np.array([-1, shape.hidden]), special_zero=False)
        chances = ops.softmax(ops.matmul(flat, ops.constant(router), False, True), 1)
        top = ops.topk(chances, ops.constant(np.int64(shape.choices)), 1, "max", "value", "i64")
        routing = ops.divide(top.output(0), ops.reduce_sum(top.output(0), np.array([1]), keep_dims=True))
        y = block(number, flat.output(0), top.output(1), routing.output(0))
        # the next block waits for this one; the mean is small and changes next to nothing in what x is
        mean = ops.reduce_mean(y, ops.constant(np.array([1])), keep_dims=True)
        current = ops.add(x, ops.unsqueeze(ops.multiply(mean, ops.constant(np.float32(1e-6))), np.array([1])))
    return ov.Model([current], [x], "experts")


def _tiled(block: list[Projection], x: ov.Output, ids: ov.Output, routing: ov.Output) -> ov.Output:
    gate, up, down = (layer.constant() for layer in block)
    return write_experts(x, ids, routing, ExpertLayers([gate, up], down, ["gate", "up", "down"]), Activation("silu"))
