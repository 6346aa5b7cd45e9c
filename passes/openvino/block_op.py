"""Create scap_ov::SparseBlock and read it back: one op for what lies between the attention of a Transformer block and that of the next.

    x, h ─▶ h1 = h + o(x) ─▶ norm_1 ─▶ up ─▶ act(gate) · up ─▶ down ─▶ h2 = h1 + … ─▶ norm_2 ─▶ next      (ADR 0061)

Its one constant holds the packed constants of the SparseMatMul ops as they are and the factors of the norms; its attributes are theirs with
the part's name before them. Its friendly name is a JSON list of the names of what it stands for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov

from scap_ov.custom_ops.formats import packed_row_bytes
from scap_ov.passes.openvino.joined_constant import JoinedConstant
from scap_ov.passes.openvino.level_blocks import VERSION
from scap_ov.passes.openvino.portable_pattern import PREFIX
from scap_ov.passes.openvino.sparse_op import CreateOp

PARTS = ("o", "up", "down", "next")
_OF_LEVELS = ("levels", "start_level", "level_model", "level_op")  # attributes that an op without levels does not have
_OWN = ("version", "projection")  # attributes of a SparseMatMul that the op has for itself, or that parts of it never have


@dataclass(frozen=True)
class Norm:
    """A root mean square norm: x · gamma / sqrt(mean(x²) + epsilon).

    :param gamma: float32 [H].
    """

    gamma: np.ndarray
    epsilon: float


@dataclass(frozen=True)
class Part:
    """A SparseMatMul without its input.

    :param packed: uint8 [rows, row_bytes], its constant.
    """

    name: str
    attributes: Mapping[str, Any]
    packed: np.ndarray

    @classmethod
    def of(cls, node: ov.Node) -> Part:
        """What an op is, beside its input."""
        return cls(node.get_friendly_name(), node.get_attributes(), np.asarray(node.input_value(1).get_node().data))


@dataclass(frozen=True)
class Block:
    """What one op stands for.

    :param parts: by names of PARTS; `next` may be missing.
    :param norms: one, or two where there is `next`.
    :param activation: silu, gelu_tanh or gelu_erf.
    :param sums: friendly names of both residual sums.
    """

    parts: Mapping[str, Part]
    norms: tuple[Norm, ...]
    activation: str
    sums: tuple[str, str]


def joined(block: Block) -> JoinedConstant:
    """The op's constant: packed constants in the order of PARTS, then factors of the norms."""
    packed = [block.parts[name].packed if name in block.parts else None for name in PARTS]
    factors = [norm.gamma for norm in block.norms]
    return JoinedConstant.of([*packed, *factors, *[None] * (2 - len(factors))])


def build(create: CreateOp, x: ov.Output, h: ov.Output, block: Block, constant: ov.Node, starts: Sequence[int]) -> ov.Node:
    """The op with its three inputs. Outputs: h2, then those of `next`.

    :param constant: of what `joined` gives, and where its parts begin.
    """
    rows = [len(block.parts[name].packed) if name in block.parts else 0 for name in PARTS]
    attributes: dict[str, Any] = {"activation": block.activation, "offsets": list(starts), "packed_rows": rows}
    attributes |= {f"eps_{number}": norm.epsilon for number, norm in enumerate(block.norms, 1)}
    for name, part in block.parts.items():
        attributes |= {f"{name}_{key}": value for key, value in part.attributes.items() if key not in _OWN}
    op = create([x, h, constant.output(0)], attributes)
    op.set_friendly_name(PREFIX + json.dumps([*(part.name for part in block.parts.values()), *block.sums]))
    return op


def read(node: ov.Node) -> Block:
    """What an op stands for. Packed constants and factors lie in the op's own constant; nothing is copied."""
    attributes = node.get_attributes()
    data = np.asarray(node.input_value(2).get_node().data)
    offsets, rows = attributes["offsets"], attributes["packed_rows"]
    there = [name for name, count in zip(PARTS, rows, strict=True) if count]
    names = _names(node, len(there) + 2)
    parts = {}
    for name, start, count in zip(PARTS, offsets, rows, strict=False):
        if count:
            own = _own_attributes(attributes, name)
            row_bytes = packed_row_bytes("u4" if own["planes"] else own["weight_type"], sum(own["output_sizes"]))
            parts[name] = Part(names[there.index(name)], own, data[start : start + count * row_bytes].reshape(count, row_bytes))
    width = sum(parts["down"].attributes["output_sizes"])
    factors = [data[start : start + 4 * width].view(np.float32) for start in offsets[len(PARTS) :] if start >= 0]
    norms = [Norm(gamma, attributes[f"eps_{number}"]) for number, gamma in enumerate(factors, 1)]
    return Block(parts, tuple(norms), attributes["activation"], (names[-2], names[-1]))


def _own_attributes(attributes: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Those of a part as a SparseMatMul takes them."""
    own = {key.removeprefix(f"{part}_"): value for key, value in attributes.items() if key.startswith(f"{part}_")}
    if own.get("levels"):
        return own | {"version": VERSION}
    return {key: value for key, value in own.items() if key not in _OF_LEVELS}


def _names(node: ov.Node, count: int) -> list[str]:
    """The names that an op bears; made up from its own one where that was changed."""
    name = node.get_friendly_name()
    try:
        found = json.loads(name.removeprefix(PREFIX))
    except ValueError:
        found = None
    if isinstance(found, list) and len(found) == count and all(isinstance(one, str) for one in found):
        return found
    return [f"{name}.{number}" for number in range(count)]
