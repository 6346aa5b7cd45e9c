"""Write the portable pattern of one site in standard ops, as docs/packing.md has it. Read by: match_pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.openvino.half_reads import half_read
from scap_ov.passes.rules.beyond import beyond
from scap_ov.passes.rules.match_ramp import steepness
from scap_ov.passes.rules.path import path_between

PREFIX = "scap_ov."  # of the friendly name of a site's Select


@dataclass(frozen=True)
class Written:
    """The pattern of a site as it stands in a model.

    :param pruned: the Select that gives the pruned input.
    :param half: the Select of what is read by half; None where nothing is.
    :param layers: what now stands for each layer.
    :param lost: of each layer the product that takes off what the high plane misses; None where there is none.
    """

    pruned: ov.Node
    half: ov.Node | None
    layers: tuple[ov.Node, ...]
    lost: tuple[ov.Node | None, ...]


class PatternWriter:
    """Writes the pattern of one site.

    :param name: of the site.
    :param source: the activation tensor x, float [..., K].
    :param readers: the layers that read it, through Convert or Reshape at most; or what spreads it over routed experts.
    :param rows: `decode`, `all`, or `every`: all without exemption, as in a pattern of another tool.
    :param max_sparse_rows: of `decode`.
    :param ramp: relative width of the ramp above the threshold; 0 for none.
    :param time_first: x is [T, B, K], so that the first position is that of axis 0.
    :param tokens: what the row policy goes by, [..., K]; `source` by default. That of routed experts is [E, rows of tokens, N].
    :param products: the layers, where they are not the readers: routed experts behind a Tile.
    """

    def __init__(
        self, name: str, source: ov.Output, readers: Sequence[ov.Node], rows: str, max_sparse_rows: int, ramp: float = 0.0,
        *, time_first: bool = False, tokens: ov.Output | None = None, products: Sequence[ov.Node] | None = None,
    ) -> None:  # fmt: skip
        self._name, self._readers, self._rows, self._max_rows = name, readers, rows, max_sparse_rows
        self._layers = readers if products is None else products
        self._x, self._ramp, self._axis = source, ramp, 0 if time_first else 1
        self._tokens = source if tokens is None else tokens
        self._shape: ov.Node | None = None

    def write(
        self,
        threshold: ov.Output,
        center: ov.Output | None,
        compensation: list[ov.Output] | None,
        whole: ov.Output | None = None,
        residuals: Sequence[ov.Output | None] = (),
    ) -> Written:
        """Put Select before the layers, and what is lost by half-reading and the compensation behind them.

        :param threshold: f32, broadcastable to x.
        :param center: the same; None for 0.
        :param compensation: f32 [N] of each layer.
        :param whole: τ₁, as the threshold; None where nothing is read by half.
        :param residuals: of each layer what the high plane misses, see half_reads.residual; None for a layer that is always read whole.
        """
        paths = [path_between(reader, self._x) for reader in self._readers]
        to_layers = [path_between(layer, self._x) for layer in self._layers]
        exempt = self.first_position() if self._rows == "all" else None
        few = self.few_rows() if self._rows == "decode" else None
        x = self._x if self._x.get_element_type() == ov.Type.f32 else ops.convert(self._x, np.float32).output(0)
        shifted = x if center is None else ops.subtract(x, center).output(0)
        distance = ops.abs(shifted)
        never = ops.constant(np.float32(-1))
        if few is not None:
            threshold = ops.select(few, threshold, never).output(0)
            whole = None if whole is None else ops.select(few, whole, never).output(0)
        if exempt is not None and self._ramp:  # whose slope starts at the threshold, so that this has to know
            threshold = ops.select(exempt, never, threshold).output(0)
        keep = beyond(distance, threshold)
        if exempt is not None and not self._ramp:
            keep = ops.logical_or(keep, exempt)
        replacement = ops.constant(np.float32(0)).output(0) if center is None else center
        if self._x.get_element_type() != ov.Type.f32:
            replacement = as_type(replacement, self._x.get_element_type())
        moved = self._ramped(x, shifted, distance, threshold) if self._ramp else None
        pruned = ops.select(keep, self._x if moved is None else self._own_type(moved), replacement)
        pruned.set_friendly_name(PREFIX + self._name)
        rows_pruned = few if few is not None else ops.logical_not(exempt) if exempt is not None else ops.constant(np.array(True))
        half = None
        if whole is not None:
            change = shifted if moved is None else moved if center is None else ops.subtract(moved, center).output(0)
            half = half_read(change, distance, keep.output(0), whole, exempt, self._x.get_element_type())
            half.set_friendly_name(f"{PREFIX}{self._name}.half")
            negated = ops.negative(half)
        layers: list[ov.Node] = []
        lost: list[ov.Node | None] = []
        for reader, path in zip(self._readers, paths, strict=True):
            reader.input(0).replace_source_output(follow(pruned.output(0), path))
        for number, (product, path) in enumerate(zip(self._layers, to_layers, strict=True)):
            layer, lost_here = product, None
            if half is not None and (missed := residuals[number]) is not None:
                layer = _read_by_half(product, follow(negated.output(0), path), missed)
                lost_here = layer.input_value(1).get_node()
            if compensation is not None:
                layer = _compensate(layer, rows_pruned, compensation[number])
            layers.append(layer)
            lost.append(lost_here)
        return Written(pruned, half, tuple(layers), tuple(lost))

    def _ramped(self, x: ov.Output, shifted: ov.Output, distance: ov.Node, threshold: ov.Output) -> ov.Output:
        """Move x towards the centre by max(0, τ′ − (|x − c| − τ′) · s), s = 1 / ramp: τ′ at the threshold, nothing behind the ramp."""
        above = ops.multiply(ops.subtract(distance, threshold), ops.constant(steepness(self._ramp)))
        return ops.subtract(x, ops.multiply(ops.sign(shifted), ops.relu(ops.subtract(threshold, above)))).output(0)

    def _own_type(self, value: ov.Output) -> ov.Output:
        dtype = self._x.get_element_type()
        return value if dtype == ov.Type.f32 else as_type(value, dtype)

    def _shape_of(self) -> ov.Node:
        if self._shape is None:
            self._shape = ops.shape_of(self._tokens)
        return self._shape

    def few_rows(self) -> ov.Node:
        """Whether x has at most max_sparse_rows rows, boolean scalar. Rule 2."""
        lead = ops.slice(self._shape_of(), np.array([0]), np.array([-1]), np.array([1]))
        rows = ops.reduce_prod(lead, np.array(0), keep_dims=False)
        return ops.less_equal(rows, ops.constant(np.array(self._max_rows, np.int64)))

    def first_position(self) -> ov.Node | None:
        """Which positions stay dense, boolean [T, 1], or [T, 1, 1] where the sequence is axis 0; None where no row does. Rule 3.

        Of what is inside of routed experts [B · T, 1].
        """
        shape = self._tokens.get_partial_shape()
        if len(shape) != 3 or (shape[self._axis].is_static and shape[self._axis].get_length() == 1):
            return None
        length = ops.gather(self._shape_of(), np.array(self._axis), np.array(0))
        first = ops.equal(ops.range(np.array(0), length, np.array(1), output_type="i64"), ops.constant(np.array(0)))
        several = ops.greater(length, ops.constant(np.array(1)))
        exempt = ops.logical_and(first, several)
        if self._tokens is self._x:
            return ops.unsqueeze(exempt, np.arange(1, 3 - self._axis))
        lead = ops.slice(self._shape_of(), np.array([0]), np.array([2]), np.array([1]))
        everywhere = ops.broadcast(exempt if self._axis else ops.unsqueeze(exempt, np.array([1])), lead, broadcast_spec="BIDIRECTIONAL")
        return ops.reshape(everywhere, np.array([-1, 1]), special_zero=False)


def _read_by_half(matmul: ov.Node, negated: ov.Output, missed: ov.Output) -> ov.Node:
    """Take off what the high plane misses of entries that are read by half, which come negated."""
    readers = list(matmul.output(0).get_target_inputs())
    lost = ops.matmul(negated, missed, False, True)
    lost.set_friendly_name(f"{matmul.get_friendly_name()}/missed")
    return _put_behind(matmul, readers, ops.add(matmul, lost), "half_read")


def _compensate(layer: ov.Node, rows_pruned: ov.Node, value: ov.Output) -> ov.Node:
    readers = list(layer.output(0).get_target_inputs())
    extra = ops.select(rows_pruned, value, ops.constant(np.float32(0)))
    dtype = layer.get_output_element_type(0)
    total = ops.add(layer, extra if dtype == ov.Type.f32 else as_type(extra.output(0), dtype))
    return _put_behind(layer, readers, total, "compensated")


def _put_behind(layer: ov.Node, readers: Sequence[ov.Input], total: ov.Node, what: str) -> ov.Node:
    """Give the readers of a layer, and its tensor names, to the node that stands for it from now on."""
    total.set_friendly_name(f"{layer.get_friendly_name()}/{what}")
    names = layer.output(0).get_names()
    layer.output(0).get_tensor().set_names(set())
    total.output(0).get_tensor().set_names(names)
    for reader in readers:
        reader.replace_source_output(total.output(0))
    return total


def follow(value: ov.Output, path: list[ov.Node]) -> ov.Output:
    """Apply copies of nodes to another value."""
    for node in path:
        kind = node.get_type_name()
        if kind == "Convert":
            value = as_type(value, node.get_element_type())
        elif kind == "Tile":
            value = ops.tile(value, node.input_value(1)).output(0)
        elif kind == "Reshape":
            value = ops.reshape(value, node.input_value(1), special_zero=node.get_attributes()["special_zero"]).output(0)
        else:
            axes = [node.input_value(1)] if node.get_input_size() > 1 else []
            value = (ops.squeeze if kind == "Squeeze" else ops.unsqueeze)(value, *axes).output(0)
    return value


def as_type(value: ov.Output, dtype: ov.Type) -> ov.Output:
    """Converted, also to bf16, which numpy has no name for."""
    return ops.convert(value, dtype.get_type_name()).output(0)
