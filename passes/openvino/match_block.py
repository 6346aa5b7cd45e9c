"""Find what one SparseBlock can stand for: the layers between the attention of a Transformer block and that of the next, all in our op.

    attention ─▶ o ─▶ + h ─▶ norm ─▶ gate, up ─▶ act(gate) · up ─▶ down ─▶ + ─▶ norm ─▶ q, k, v

Norms are root mean square norms as exporters spell them out; sums and products may have their operands in either order. With biases,
norms of other kinds, a layer that stayed stock or a tensor in between that something else reads, a block is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov

from scap_ov.custom_ops import OP_NAME
from scap_ov.passes.openvino.block_op import Block, Norm, Part
from scap_ov.passes.openvino.gate_activation import activation_name
from scap_ov.passes.openvino.match_choice import numbers
from scap_ov.passes.rules.constants import constant_values
from scap_ov.passes.rules.structure import channels_of
from scap_ov.passes.rules.tensors import key_of

_SQUARES, _RECIPROCAL_ROOT = [2.0], [-0.5]


@dataclass(frozen=True)
class Found:
    """A block in a graph.

    :param x: what attention gave.
    :param h: what it is added to.
    :param sum: the second residual sum, h2.
    :param last: the op of `next`, if there is one.
    """

    block: Block
    x: ov.Output
    h: ov.Output
    sum: ov.Output
    last: ov.Node | None


def match_block(up: ov.Node) -> Found | None:
    """The block around an op that computes gate and up, or up alone; None where it is no such op, or the block is another."""
    first = _norm_before(up.input_value(0)) if _is_ours(up) else None
    product = None if first is None else _activated(up)
    if first is None or product is None:
        return None
    h1, norm = first
    o, h = _sum_of(h1)
    down, total = _behind(product[0], h1)
    if o is None or h is None or down is None or total is None:
        return None
    h2 = total.output(0)
    if _reader_ids(h1) != {total.get_instance_id(), *norm.nodes} or not (_alike(h, h1) and _alike(h1, h2)):
        return None
    parts, norms = {"o": Part.of(o), "up": Part.of(up), "down": Part.of(down)}, [norm.norm]
    last, second = _norm_behind(h2) or (None, None)
    if last is not None and second is not None:
        parts["next"] = Part.of(last)
        norms.append(second.norm)
    sums = h1.get_node().get_friendly_name(), total.get_friendly_name()
    return Found(Block(parts, tuple(norms), product[1], sums), o.input_value(0), h, h2, last)


@dataclass(frozen=True)
class _SpeltOut:
    """A norm in a graph.

    :param nodes: instance ids of the nodes that read what it norms.
    """

    norm: Norm
    nodes: frozenset[int]


def _is_ours(node: ov.Node) -> bool:
    return (
        node.get_type_name() == OP_NAME and node.get_output_element_type(0) == ov.Type.f32 and not node.get_attributes().get("projection")
    )


def _sum_of(value: ov.Output) -> tuple[ov.Node | None, ov.Output | None]:
    """The op of one layer, read by nothing else, and what its output is added to."""
    node = value.get_node()
    if node.get_type_name() == "Add":
        for port in (1, 0):
            o = node.input_value(port).get_node()
            if _is_ours(o) and o.get_output_size() == 1 and len(o.output(0).get_target_inputs()) == 1:
                return o, node.input_value(1 - port)
    return None, None


def _behind(value: ov.Output, h1: ov.Output) -> tuple[ov.Node | None, ov.Node | None]:
    """The op of the one layer that reads a value, and the sum of its output and h1."""
    down = _only_reader(value)
    if down is None or not _is_ours(down) or down.get_output_size() != 1:
        return None, None
    total = _only_reader(down.output(0))
    added = total is not None and total.get_type_name() == "Add" and key_of(_other(total, down.output(0))) == key_of(h1)
    return down, total if added else None


def _activated(up: ov.Node) -> tuple[ov.Output, str] | None:
    """act(gate) · up, or act(up) of an op with one output, and the activation; None where the outputs go elsewhere too."""
    gate = _only_reader(up.output(0))
    name = None if gate is None else activation_name(gate)
    if gate is None or name is None or up.get_output_size() > 2:
        return None
    value = gate.output(0)
    if up.get_output_size() == 1:
        return value, name
    product = _only_reader(value)
    if product is None or product.get_type_name() != "Multiply" or key_of(_other(product, value)) != key_of(up.output(1)):
        return None
    return (product.output(0), name) if _only_reader(up.output(1)) is not None else None


def _norm_behind(h2: ov.Output) -> tuple[ov.Node, _SpeltOut] | None:
    """The one op of ours that reads a norm of a tensor, with the norm; None where something else reads it."""
    for reader in h2.get_target_inputs():
        node = reader.get_node()
        if node.get_type_name() not in ("Multiply", "Divide"):
            continue
        for scaled in node.output(0).get_target_inputs():
            op = _only_reader(scaled.get_node().output(0))
            found = _norm_before(op.input_value(0)) if op is not None and _is_ours(op) else None
            if op is not None and found is not None and key_of(found[0]) == key_of(h2):
                return op, found[1]
    return None


def _norm_before(value: ov.Output) -> tuple[ov.Output, _SpeltOut] | None:
    """The tensor that a value is the norm of; None where it is none, or something else reads what is between."""
    node = value.get_node()
    if node.get_type_name() != "Multiply" or len(value.get_target_inputs()) != 1:
        return None
    for port in (0, 1):
        try:
            gamma = constant_values(node.input_value(port))[0].astype(np.float32).reshape(-1)
        except ValueError:
            continue
        found = _normed(node.input_value(1 - port))
        if found is not None and channels_of(found[0].get_partial_shape()) == gamma.size and np.isfinite(gamma).all():
            h, epsilon, nodes = found
            return h, _SpeltOut(Norm(gamma, epsilon), nodes)
    return None


def _normed(value: ov.Output) -> tuple[ov.Output, float, frozenset[int]] | None:
    """Of x · 1 / sqrt(mean(x²) + ε), x / sqrt(…) or x · (…)^-0.5: x, ε and the nodes that read x."""
    node = value.get_node()
    if node.get_type_name() not in ("Multiply", "Divide") or len(value.get_target_inputs()) != 1:
        return None
    for port in (0, 1) if node.get_type_name() == "Multiply" else (0,):
        x = node.input_value(port)
        mean = _rooted(node.input_value(1 - port), reciprocal=node.get_type_name() == "Multiply")
        if mean is None:
            continue
        for own in (0, 1):
            epsilon = numbers(mean.input_value(own))
            square = _mean_square(mean.input_value(1 - own), x)
            if len(epsilon) == 1 and square is not None and 0 <= epsilon[0] < 1:
                return x, epsilon[0], frozenset({node.get_instance_id(), square.get_instance_id()})
    return None


def _rooted(value: ov.Output, *, reciprocal: bool) -> ov.Node | None:
    """The sum under a root, or under one over a root."""
    node = value.get_node()
    if len(value.get_target_inputs()) != 1:
        return None
    if reciprocal and node.get_type_name() == "Divide" and numbers(node.input_value(0)) == [1.0]:
        return _rooted(node.input_value(1), reciprocal=False)
    power = node.get_type_name() == "Power" and numbers(node.input_value(1)) == (_RECIPROCAL_ROOT if reciprocal else [0.5])
    if not power and (reciprocal or node.get_type_name() != "Sqrt"):
        return None
    under: ov.Node = node.input_value(0).get_node()
    return under if under.get_type_name() == "Add" and len(under.output(0).get_target_inputs()) == 1 else None


def _mean_square(value: ov.Output, x: ov.Output) -> ov.Node | None:
    """The node that squares x, where a value is the mean of the squares over the last axis."""
    node = value.get_node()
    if node.get_type_name() != "ReduceMean" or not node.get_attributes()["keep_dims"] or len(value.get_target_inputs()) != 1:
        return None
    rank = x.get_partial_shape().rank
    if rank.is_dynamic or numbers(node.input_value(1)) not in ([-1.0], [rank.get_length() - 1.0]):
        return None
    square: ov.Node = node.input_value(0).get_node()
    if len(square.output(0).get_target_inputs()) != 1 or key_of(square.input_value(0)) != key_of(x):
        return None
    power = square.get_type_name() == "Power" and numbers(square.input_value(1)) == _SQUARES
    itself = square.get_type_name() == "Multiply" and key_of(square.input_value(1)) == key_of(x)
    return square if power or itself else None


def _only_reader(value: ov.Output) -> ov.Node | None:
    readers = list(value.get_target_inputs())
    return readers[0].get_node() if len(readers) == 1 else None


def _reader_ids(value: ov.Output) -> set[int]:
    return {reader.get_node().get_instance_id() for reader in value.get_target_inputs()}


def _other(node: ov.Node, value: ov.Output) -> ov.Output:
    """The other operand of a node with two."""
    first: ov.Output = node.input_value(0)
    return node.input_value(1) if key_of(first) == key_of(value) else first


def _alike(one: ov.Output, other: ov.Output) -> bool:
    """Whether two tensors are both f32, with as many axes and as wide."""
    shape, beside = one.get_partial_shape(), other.get_partial_shape()
    same = shape.rank == beside.rank and channels_of(shape) == channels_of(beside) > 0
    return same and one.get_element_type() == other.get_element_type() == ov.Type.f32
