"""A model that is computed piece after piece: weights lie in memory as f32 for one piece at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import openvino as ov

from scap_ov.gradients.cut import Piece, Wanted, cut
from scap_ov.gradients.give_back import give_back
from scap_ov.gradients.layout import Layout, layout_of
from scap_ov.gradients.program import Program, Prologue, Shown
from scap_ov.mapped_pages import let_go
from scap_ov.passes.rules.tensors import Key, key_of

Values = dict[Key, np.ndarray]
_ALIGNMENT = 16  # float32 values: 64 bytes


class Piecewise:
    """The pieces of a graph, with what is compiled of them.

    :param model: taken apart in place; give a clone, without states.
    :param wanted: tensors to differentiate with respect to.
    :param settings: parameters that are the same for all samples.
    :param result: what the model computes.
    :param taps: further tensors to give out, by name.
    :param pruning: nodes that prune.
    :param missed: products with what the high plane of a weight misses; their right operand is the weight itself.
    :param shown: by name of a tap or a wanted tensor what of it is given out; without an entry all of it.
    :raises UncutError: the graph has no border.
    """

    def __init__(
        self,
        model: ov.Model,
        wanted: Sequence[Wanted],
        settings: Sequence[ov.Node],
        result: ov.Output,
        taps: Mapping[str, ov.Output],
        pruning: Collection[ov.Node] = (),
        missed: Collection[ov.Node] = (),
        shown: Mapping[str, Shown] | None = None,
    ) -> None:
        self._model = model  # keeps the nodes alive
        self.pieces = cut(model.get_ordered_ops(), wanted, settings, result, list(taps.values()))
        self._pruning, self._shown = pruning, shown or {}
        at = {node.get_instance_id(): n for n, piece in enumerate(self.pieces) for node in piece.nodes}
        self.taps: list[dict[str, ov.Output]] = [{} for _ in self.pieces]
        for name, value in taps.items():
            self.taps[at[value.get_node().get_instance_id()]][name] = value
        lost = {node.get_instance_id() for node in missed}
        asked = [[*t.values(), *(w.value for w in p.wanted)] for p, t in zip(self.pieces, self.taps, strict=True)]
        self.layouts = [layout_of(piece, outputs, lost) for piece, outputs in zip(self.pieces, asked, strict=True)]
        own = {node.get_instance_id() for node in settings}
        outside = {key_of(v): v for layout in self.layouts for v in layout.reads
                   if v.get_node().get_instance_id() not in at and v.get_node().get_instance_id() not in own}  # fmt: skip
        parameters = [p for p in model.get_parameters() if p.get_instance_id() not in own]
        self.prologue = Prologue(list(outside.values()), parameters)
        self._programs: dict[str, Program] = {}
        self._current = ""
        self._arena = np.zeros(0, np.float32)
        self._loaded: tuple[int, list[np.ndarray]] = (-1, [])

    def forward(self, number: int, values: Values) -> tuple[Values, dict[str, np.ndarray]]:
        """Run one piece.

        :param values: what it reads; gets no new entries.
        :return: what later pieces read (copies), and its taps (valid until the next run).
        """
        piece, layout = self.pieces[number], self.layouts[number]
        found = self.program(number).forward([values[key_of(v)] for v in layout.reads], self.load(number))
        given = {key_of(v): np.array(a) for v, a in zip(piece.gives, found, strict=False)}
        return given, dict(zip(self.taps[number], found[len(piece.gives) :], strict=True))

    def backward(
        self, number: int, values: Values, gradient: np.ndarray
    ) -> tuple[np.ndarray | None, dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Differentiate one piece.

        :param gradient: at its border.
        :return: the gradient at its entry (a copy; None for the first piece), and by name of a wanted tensor its value and
            gradient (valid until the next run).
        """
        piece, layout = self.pieces[number], self.layouts[number]
        found = self.program(number).backward([values[key_of(v)] for v in layout.reads], self.load(number), gradient)
        before = None if piece.entry is None else np.array(found[0])
        found = found[piece.entry is not None :]
        count = len(piece.wanted)
        return before, {w.name: (found[count + i], found[i]) for i, w in enumerate(piece.wanted)}

    def check_gradients(self, numbers: Sequence[int]) -> None:
        """Write the derivative of these pieces, which is quick, before anything long begins.

        :raises BadModelError: an operation has no gradient rule.
        """
        for number in numbers:
            self.program(number).derive()

    def program(self, number: int) -> Program:
        """The program of a piece's structure; what is compiled of other structures is let go.

        A first piece may compute the same as later ones, but has no entry to give a gradient at.
        """
        structure = self.layouts[number].structure + " entered" * (self.pieces[number].entry is not None)
        if structure not in self._programs:
            shown = self._shown
            taps = [shown[name](value) if name in shown else value for name, value in self.taps[number].items()]
            self._programs[structure] = Program(self.pieces[number], self.layouts[number], taps, self._pruning, shown=shown)
        if structure != self._current:
            if self._current in self._programs:
                self._programs[self._current].release()
                give_back()
            self._current = structure
        return self._programs[structure]

    def load(self, number: int) -> list[np.ndarray]:
        """The weights of a piece, as f32; those of the piece before are gone."""
        if self._loaded[0] != number:
            self._loaded = (number, self._views(self.layouts[number]))
            for slot, view in zip(self.layouts[number].slots, self._loaded[1], strict=True):
                slot.fill(view)
            let_go(*(np.asarray(slot.weight.constant.data) for slot in self.layouts[number].slots if slot.weight is not None))
        return self._loaded[1]

    def _views(self, layout: Layout) -> list[np.ndarray]:
        sizes = [int(np.prod(slot.shape)) for slot in layout.slots]
        starts = np.concatenate([[0], np.cumsum([-(-s // _ALIGNMENT) * _ALIGNMENT for s in sizes])]).astype(int)
        if starts[-1] > self._arena.size:
            self._arena = np.empty(starts[-1] + _ALIGNMENT, np.float32)
        shift = (-self._arena.ctypes.data // 4) % _ALIGNMENT
        return [self._arena[shift + a : shift + a + s].reshape(slot.shape) for a, s, slot in zip(starts, sizes, layout.slots, strict=False)]


def carried(piece: Piece, later: Sequence[Piece], values: Values) -> Values:
    """Of what a piece gave, what later pieces still read beside their entries."""
    read = {key_of(v) for p in later for v in p.reads}
    return {key: value for key, value in values.items() if key in read and key != key_of(piece.border)}
