"""What a piece of a graph computes and what it is fed with, so that pieces of one structure share a compiled program.

Weights and other float constants are not part of the structure: they become inputs, filled for one piece at a time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import openvino as ov

from scap_ov.errors import UncutError
from scap_ov.gradients.cut import Piece
from scap_ov.passes.openvino import half_reads
from scap_ov.passes.openvino.weights import read_experts, read_weight
from scap_ov.passes.rules.tensors import Key, key_of
from scap_ov.passes.rules.weight_matrix import LeaveStock, NoLayer, WeightMatrix

_INLINE = 4096  # elements of a constant that is compared by value; a larger one is the same only where it is the same node
_ROWS = 512  # output channels that one thread dequantises at a time
_UNNAMED = ("variable_id", "variable_shape", "variable_type")


@dataclass(frozen=True)
class Slot:
    """A constant that becomes an input.

    :param reader: the node that reads it, and at which port.
    :param shape: of the input, float32.
    :param fill: writes the values into an array of that shape.
    :param weight: whose values they are, where they are a layer's weight.
    :param values: of some output channels of that weight, float32 [n, K].
    :param turned: `shape` is [K, N].
    """

    reader: ov.Node
    port: int
    shape: tuple[int, ...]
    fill: Callable[[np.ndarray], None]
    weight: WeightMatrix | None = None
    values: Callable[[slice], np.ndarray] | None = None
    turned: bool = False

    def fill_part(self, out: np.ndarray, first: int) -> None:
        """Write the output channels from `first` on of a layer's weight into an array [n, K], or [K, n] where it is turned."""
        if self.values is None:
            msg = "only the weight of a layer is filled in parts"
            raise RuntimeError(msg)
        write_rows(self.values, out.T if self.turned else out, first)


@dataclass(frozen=True)
class Layout:
    """Of one piece. Two pieces with the same `structure` compute the same from their reads and slots, taken in order.

    :param reads: tensors from before, the entry first where there is one.
    :param slots: constants that become inputs.
    """

    structure: str
    reads: tuple[ov.Output, ...]
    slots: tuple[Slot, ...]

    @property
    def slot_bytes(self) -> int:
        """Size of all slots."""
        return 4 * sum(int(np.prod(slot.shape)) for slot in self.slots)


def layout_of(piece: Piece, outputs: Sequence[ov.Output], missed: Collection[int] = ()) -> Layout:
    """Describe a piece.

    :param outputs: tensors of the piece that are asked for beside what it gives, in an order that is the same for like pieces.
    :param missed: instance ids of products with what the high plane of a weight misses, which are written with the weight itself.
    :raises UncutError: that weight cannot be read.
    """
    return _Walk(piece, missed).layout(outputs)


class _Walk:
    """Visits a piece from its outputs on, in an order that depends on its structure alone."""

    def __init__(self, piece: Piece, missed: Collection[int]) -> None:
        self._piece, self._missed = piece, missed
        self._own = {node.get_instance_id() for node in piece.nodes}
        self._number: dict[int, int] = {}
        self._said: list[object] = []
        self._reads: dict[Key, ov.Output] = {}
        self._slots: list[Slot] = []
        self._known_slots: dict[tuple[Key, bool], int] = {}

    def layout(self, outputs: Sequence[ov.Output]) -> Layout:
        if self._piece.entry is not None:
            self._reads[key_of(self._piece.entry)] = self._piece.entry
        asked = [self._refer(value) for value in (*self._piece.gives, *outputs)]
        self._said.append(("asked", asked))
        for value in self._reads.values():
            self._said.append(("read", value.get_element_type().get_type_name(), str(value.get_partial_shape())))
        digest = hashlib.blake2b(repr(self._said).encode(), digest_size=16).hexdigest()
        return Layout(digest, tuple(self._reads.values()), tuple(self._slots))

    def _refer(self, value: ov.Output) -> object:
        """How a tensor is named in the structure; visits its node first."""
        node = value.get_node()
        if node.get_instance_id() not in self._own:
            names = list(self._reads)
            if key_of(value) not in self._reads:
                self._reads[key_of(value)] = value
                names.append(key_of(value))
            return "read", names.index(key_of(value))
        self._visit(node)
        return self._number[node.get_instance_id()], value.get_index()

    def _visit(self, last: ov.Node) -> None:
        pending = [last]
        while pending:  # a block is deeper than Python's stack likes
            node = pending[-1]
            if node.get_instance_id() in self._number:
                pending.pop()
                continue
            ahead = [v.get_node() for v in node.input_values() if v.get_node().get_instance_id() in self._own]
            ahead = [n for n in ahead if n.get_instance_id() not in self._number]
            if ahead:
                pending += reversed(ahead)
                continue
            pending.pop()
            self._say(node)

    def _say(self, node: ov.Node) -> None:
        inputs = [self._input(node, port, value) for port, value in enumerate(node.input_values())]
        attributes = sorted((k, str(v)) for k, v in node.get_attributes().items() if k not in _UNNAMED)
        shapes = [(str(o.get_partial_shape()), o.get_element_type().get_type_name()) for o in node.outputs()]
        self._number[node.get_instance_id()] = len(self._said)
        self._said.append((node.get_type_name(), attributes, inputs, shapes))

    def _input(self, node: ov.Node, port: int, value: ov.Output) -> object:
        if value.get_node().get_instance_id() in self._own or not is_constant(value.get_node()):
            return self._refer(value)
        missed = port == 1 and node.get_instance_id() in self._missed
        slot = _slot(node, port, value, missed=missed)
        if missed and slot is None:
            msg = f"the weight of {node.get_friendly_name()} cannot be read by half"
            raise UncutError(msg)
        if slot is not None:
            self._slots.append(slot)
            return "slot", len(self._slots) - 1, slot.shape, missed
        return _constant_key(value)


def is_constant(node: ov.Node) -> bool:
    """Whether a node depends on constants alone."""
    pending = [node]
    while pending:
        current = pending.pop()
        if current.get_type_name() == "Constant":
            continue
        if not current.get_input_size() or current.get_type_name() == "ReadValue":
            return False
        pending += [v.get_node() for v in current.input_values()]
    return True


def _slot(node: ov.Node, port: int, value: ov.Output, *, missed: bool) -> Slot | None:
    """The weight of a layer, or what its high plane misses, or another float constant of several elements, as an input."""
    if value.get_element_type() != ov.Type.f32:
        return None
    if node.get_type_name() == "MatMul":
        return _weight_slot(node, port, value, missed=missed) if port == 1 else None
    source = value.get_node()
    if source.get_type_name() == "Convert":
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Constant" or source.get_element_type() not in (ov.Type.f32, ov.Type.f16):
        return None
    shape = tuple(value.get_partial_shape().to_shape())
    if int(np.prod(shape)) < 2:
        return None
    return Slot(node, port, shape, lambda out: np.copyto(out, np.asarray(source.data).reshape(shape)))


def _weight_slot(node: ov.Node, port: int, value: ov.Output, *, missed: bool) -> Slot | None:
    """The weight of a layer, or what its high plane misses, or the weights of all experts of a batched product."""
    shape, transposed = value.get_partial_shape(), bool(node.get_attributes()["transpose_b"])
    try:
        if len(shape) == 3 and transposed:
            every = read_experts(node)
            rows = partial(half_reads.missed, every) if missed else every.dequantized
            return Slot(node, port, tuple(shape.to_shape()), partial(_write_experts, every, rows), every, rows)
        weight = read_weight(node) if len(shape) == 2 else None
    except (LeaveStock, NoLayer):
        return None
    if weight is None:
        return None
    turned = (weight.n, weight.k) if transposed else (weight.k, weight.n)
    values = partial(half_reads.missed, weight) if missed else weight.dequantized
    return Slot(node, port, turned, lambda out: write_rows(values, out if transposed else out.T), weight, values, not transposed)


def _write_experts(weight: WeightMatrix, values: Callable[[slice], np.ndarray], out: np.ndarray) -> None:
    write_rows(values, out.reshape(weight.n, weight.k))


def write_rows(values: Callable[[slice], np.ndarray], out: np.ndarray, first: int = 0) -> None:
    """Write rows of a weight, as f32, into an array, on all cores.

    :param values: of some output channels, out of the mapped file.
    :param out: float32 [n, K]; gets the output channels `first` to `first + n`.
    """

    def part(start: int) -> None:
        stop = min(start + _ROWS, len(out))
        out[start:stop] = values(slice(first + start, first + stop))

    starts = range(0, len(out), _ROWS)
    if len(starts) == 1:
        part(0)
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(part, starts))


def _constant_key(value: ov.Output) -> object:
    node = value.get_node()
    if node.get_type_name() == "Constant":
        shape = str(node.get_output_partial_shape(0))
        kind = node.get_element_type().get_type_name()
        if int(np.prod(node.shape)) > _INLINE:
            return "node", node.get_instance_id()
        return kind, shape, np.asarray(node.data).tobytes()
    attributes = sorted((k, str(v)) for k, v in node.get_attributes().items())
    return node.get_type_name(), value.get_index(), attributes, [_constant_key(v) for v in node.input_values()]
