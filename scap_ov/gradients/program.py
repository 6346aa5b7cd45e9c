"""The compiled forms of a piece: its values, and its gradients. One program serves all pieces of a structure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.gradients.cut import Piece
from scap_ov.gradients.gradient import gradients
from scap_ov.gradients.layout import Layout
from scap_ov.passes.rules.tensors import Key, key_of
from scap_ov.runtime import compiling_core

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
Arrays = Sequence[np.ndarray]
Shown = Callable[[ov.Output], ov.Output]


class Program:
    """A piece with parameters in place of its reads and slots.

    :param piece: its nodes are detached from the graph around them, in place.
    :param taps: further tensors of the piece to give out.
    :param pruning: nodes that prune, for the derivative.
    :param shown: by name of a wanted tensor what of it, and of its gradient, is given out; without an entry all of it.
    :param width: size of an axis that is free in this program: the vocabulary of the output projection, taken in chunks.
    """

    def __init__(
        self, piece: Piece, layout: Layout, taps: Sequence[ov.Output], pruning: Collection[ov.Node] = (), width: int | None = None,
        *, shown: Mapping[str, Shown] | None = None,
    ) -> None:  # fmt: skip
        self.piece, self.layout, self._pruning = piece, layout, pruning
        self._shown = shown or {}
        self._reads = [_parameter(v.get_partial_shape(), v.get_element_type()) for v in layout.reads]
        self._slots = [_parameter(ov.PartialShape([-1 if d == width else d for d in s.shape]), ov.Type.f32) for s in layout.slots]
        self._taps = list(taps)
        own = {node.get_instance_id() for node in piece.nodes}
        at = {key_of(v): p for v, p in zip(layout.reads, self._reads, strict=True)}
        for node in piece.nodes:
            for port in node.inputs():
                value = port.get_source_output()
                if value.get_node().get_instance_id() not in own and key_of(value) in at:
                    port.replace_source_output(at[key_of(value)].output(0))
        for slot, parameter in zip(layout.slots, self._slots, strict=True):
            slot.reader.input(slot.port).replace_source_output(parameter.output(0))
        if width is not None:
            ov.Model([ops.result(piece.border)], [*self._reads, *self._slots], "piece").validate_nodes_and_infer_types()
        self._derived: tuple[list[ov.Output], ov.Node] | None = None
        self._forward: _Compiled | None = None
        self._backward: _Compiled | None = None
        self._tapped: _Compiled | None = None

    def forward(self, reads: Arrays, slots: Arrays) -> list[np.ndarray]:
        """What the piece gives, then its taps; valid until the next run.

        :param reads: values of `layout.reads`.
        :param slots: values of `layout.slots`.
        """
        if self._forward is None:
            self._forward = _Compiled([*self.piece.gives, *self._taps], [*self._reads, *self._slots], "forward")
        return self._forward([*reads, *slots])

    def taps_alone(self, reads: Arrays) -> list[np.ndarray]:
        """The taps, which depend on no slot; valid until the next run."""
        if self._tapped is None:
            self._tapped = _Compiled(self._taps, self._reads, "taps")
        return self._tapped(reads)

    def backward(self, reads: Arrays, slots: Arrays, gradient: np.ndarray) -> list[np.ndarray]:
        """Gradients at the entry (where there is one) and at every wanted tensor, then the wanted tensors; valid until the next run.

        :param gradient: of the loss, at the border behind the piece.
        """
        if self._backward is None:
            outputs, seed = self.derive()
            self._backward = _Compiled(outputs, [*self._reads, *self._slots, seed], "backward")
        return self._backward([*reads, *slots, gradient])

    def derive(self) -> tuple[list[ov.Output], ov.Node]:
        """Write the derivative, once.

        :return: what `backward` gives, and the parameter of the gradient at the border.
        :raises BadModelError: an operation has no gradient rule.
        """
        if self._derived is None:
            border, values = self.piece.border, [w.value for w in self.piece.wanted]
            seed = _parameter(border.get_partial_shape(), border.get_element_type())
            results = [ops.result(v) for v in (border, *values)]
            ordered = ov.Model(results, [*self._reads, *self._slots, seed], "piece").get_ordered_ops()
            towards = [self._reads[0].output(0)] if self.piece.entry is not None else []
            found = gradients(ordered, [(border, seed.output(0))], [*towards, *values], pruning=self._pruning)
            before, own = found[: len(towards)], found[len(towards) :]
            given = [self._shown.get(w.name, _all)(v) for of in (own, values) for w, v in zip(self.piece.wanted, of, strict=True)]
            self._derived = [*before, *given], seed
        return self._derived

    def release(self) -> None:
        """Let the compiled forms go."""
        self._forward = self._backward = self._tapped = None


class Prologue:
    """What all pieces read and no piece computes.

    :param outputs: of a graph; a parameter among them is handed through.
    :param inputs: the graph's parameters.
    """

    def __init__(self, outputs: Sequence[ov.Output], inputs: Sequence[ov.Node]) -> None:
        self._keys = [key_of(v) for v in outputs]
        used = ov.Model([ops.result(v) for v in outputs], list(inputs), "prologue")
        self._request = compiling_core().compile_model(used, "CPU", EXACT).create_infer_request()

    @property
    def ports(self) -> list[ov.Output]:
        """Its inputs."""
        return list(self._request.model_inputs)

    def __call__(self, inputs: Mapping[int, np.ndarray]) -> dict[Key, np.ndarray]:
        """Values by tensor; copies.

        :param inputs: by the place of their port.
        """
        self._request.infer(dict(inputs))
        return {key: np.array(self._request.get_output_tensor(i).data) for i, key in enumerate(self._keys)}


class _Compiled:
    """A graph that is compiled and run on arrays that it does not copy.

    An output that is an input is given back by us: the plugin (2026.4.1) mixes them up when the input's memory changes between runs.
    """

    def __init__(self, outputs: Sequence[ov.Output], inputs: Sequence[ov.Node], name: str) -> None:
        at = {node.get_instance_id(): i for i, node in enumerate(inputs)}
        self._from = [at.get(_origin(v).get_instance_id(), -1) for v in outputs]
        computed = [v for v, source in zip(outputs, self._from, strict=True) if source < 0]
        self._request = None
        if computed:
            built = ov.Model([ops.result(v) for v in computed], list(inputs), name)
            self._request = compiling_core().compile_model(built, "CPU", EXACT).create_infer_request()

    def __call__(self, arrays: Arrays) -> list[np.ndarray]:
        if self._request is not None:
            for index, array in enumerate(arrays):
                self._request.set_input_tensor(index, ov.Tensor(np.asarray(array, order="C"), shared_memory=True))
            self._request.infer()
        made, computed = [], 0
        for source in self._from:
            made.append(arrays[source] if source >= 0 else self._request.get_output_tensor(computed).data)  # type: ignore[union-attr]
            computed += source < 0
        return made


def _all(value: ov.Output) -> ov.Output:
    return value


def _origin(value: ov.Output) -> ov.Node:
    """The node of a tensor, seen through conversions to the type that it has."""
    node = value.get_node()
    while node.get_type_name() == "Convert" and node.get_input_element_type(0) == node.get_output_element_type(0):
        node = node.input_value(0).get_node()
    return node


def _parameter(shape: ov.PartialShape, kind: ov.Type) -> ov.Node:
    return ov.op.Parameter(kind, shape)
