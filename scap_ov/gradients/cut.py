"""Cut a graph into pieces that follow one another, so that values and gradients are computed one piece at a time.

A *border* is a tensor through which alone everything differentiable before it reaches the result: the residual stream between two blocks.
What depends on no wanted tensor, such as masks, positions and rotary tables, lies before all pieces, in the *prologue*. Shapes and other
tensors without a gradient may pass a border as well; they are handed on from the piece that computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import openvino as ov

from scap_ov.errors import UncutError
from scap_ov.gradients.reach import reached
from scap_ov.passes.rules.tensors import Key, key_of


@dataclass(frozen=True)
class Wanted:
    """A tensor to differentiate with respect to.

    :param label: pieces are cut between tensors of different labels only.
    """

    name: str
    value: ov.Output
    label: str


@dataclass(frozen=True)
class Piece:
    """Some nodes of the graph.

    :param nodes: in topological order; nodes that depend on constants alone are not among them.
    :param entry: the border before it; None for the first piece.
    :param border: the border behind it; the result of the graph for the last piece.
    :param reads: other tensors that come from before, of parameters, the prologue and earlier pieces.
    :param gives: tensors that later pieces read, the border first.
    :param wanted: tensors to differentiate with respect to, in topological order.
    """

    nodes: tuple[ov.Node, ...]
    entry: ov.Output | None
    border: ov.Output
    reads: tuple[ov.Output, ...]
    gives: tuple[ov.Output, ...]
    wanted: tuple[Wanted, ...]


def cut(
    ordered: Sequence[ov.Node], wanted: Sequence[Wanted], settings: Sequence[ov.Node], result: ov.Output, taps: Sequence[ov.Output] = ()
) -> list[Piece]:
    """The pieces of a graph, first to last.

    1. Each node that depends on a wanted tensor, a tap or a setting, and that the result depends on, is in one piece.
    2. A piece ends at the last border before a wanted tensor of another label.
    3. Where there is no border between two labels, they share a piece.

    :param ordered: the graph's nodes in topological order, without states.
    :param wanted: at least one.
    :param settings: parameters that belong to the piece which reads them rather than to the prologue.
    :param result: what is computed; everything else is left out.
    :param taps: other tensors that shall lie in a piece.
    :raises UncutError: the graph has no border.
    """
    graph = _Graph(ordered, wanted, settings, result, taps)
    ends = graph.ends()
    if not ends:
        msg = "no single tensor lies between its blocks"
        raise UncutError(msg)
    return graph.pieces(ends)


class _Graph:
    """The relevant part of a graph, in levels: a node lies above all that it reads."""

    def __init__(
        self,
        ordered: Sequence[ov.Node],
        wanted: Sequence[Wanted],
        settings: Sequence[ov.Node],
        result: ov.Output,
        taps: Sequence[ov.Output],
    ) -> None:
        self._ordered = ordered
        at = {node.get_instance_id(): i for i, node in enumerate(ordered)}
        self._inputs = [[at[v.get_node().get_instance_id()] for v in node.input_values()] for node in ordered]
        self._constant = [False] * len(ordered)
        starts = {at[v.get_node().get_instance_id()] for v in (*(w.value for w in wanted), *taps)}
        leaves = {at[node.get_instance_id()] for node in settings}
        depends = [False] * len(ordered)
        for i, sources in enumerate(self._inputs):
            self._constant[i] = ordered[i].get_type_name() == "Constant" or (bool(sources) and all(self._constant[s] for s in sources))
            depends[i] = i not in leaves and (i in starts or any(depends[s] or s in leaves for s in sources))
        needed = [False] * len(ordered)
        last = at[result.get_node().get_instance_id()]
        needed[last] = True
        for i in range(len(ordered) - 1, -1, -1):
            if needed[i]:
                for source in self._inputs[i]:
                    needed[source] = True
        self._level = [-1] * len(ordered)
        for i, sources in enumerate(self._inputs):
            if depends[i] and needed[i]:
                self._level[i] = 1 + max((self._level[s] for s in sources), default=-1)
        self._result, self._top = result, self._level[last]
        self._onward = reached(ordered, [w.value for w in wanted])
        self._wanted = sorted(wanted, key=lambda w: self._level[at[w.value.get_node().get_instance_id()]])
        self._wanted_levels = [self._level[at[w.value.get_node().get_instance_id()]] for w in self._wanted]

    def borders(self) -> dict[int, ov.Output]:
        """By level: the tensor of that level which alone leads from there, and from below, to what is above."""
        until: dict[Key, tuple[int, int, ov.Output]] = {}
        for i, node in enumerate(self._ordered):
            if self._level[i] < 0:
                continue
            for value, source in zip(node.input_values(), self._inputs[i], strict=True):
                if self._level[source] >= 0 and key_of(value) in self._onward:
                    first, end, _ = until.get(key_of(value), (self._level[source], 0, value))
                    until[key_of(value)] = (first, max(end, self._level[i]), value)
        change = [0] * (self._top + 2)
        for first, end, _ in until.values():
            change[first] += 1
            change[end] -= 1
        alone, live = set(), 0
        for level, by in enumerate(change):
            live += by
            if live == 1:
                alone.add(level)
        return {first: value for first, _, value in until.values() if first in alone}

    def ends(self) -> list[tuple[int, ov.Output]]:
        """Level and border at which each piece but the last ends."""
        borders = self.borders()
        found = []
        for (one, low), (two, high) in zip(
            zip(self._wanted, self._wanted_levels, strict=True), list(zip(self._wanted, self._wanted_levels, strict=True))[1:], strict=False
        ):
            between = [level for level in borders if low <= level < high]
            if one.label != two.label and between:
                found.append((max(between), borders[max(between)]))
        return found

    def pieces(self, ends: list[tuple[int, ov.Output]]) -> list[Piece]:
        """The pieces that end there, and the last one."""
        levels = [level for level, _ in ends]
        number = [-1 if level < 0 else sum(end < level for end in levels) for level in self._level]
        made = []
        for n in range(len(ends) + 1):
            entry = ends[n - 1][1] if n else None
            border = ends[n][1] if n < len(ends) else self._result
            own = [i for i in range(len(self._ordered)) if number[i] == n]
            reads, gives = self._reads(own, number, n, entry), self._gives(number, n, border)
            low, high = (levels[n - 1] if n else -1), (levels[n] if n < len(levels) else self._top)
            wanted = tuple(w for w, level in zip(self._wanted, self._wanted_levels, strict=True) if low < level <= high)
            made.append(Piece(tuple(self._ordered[i] for i in own), entry, border, reads, gives, wanted))
        return made

    def _reads(self, own: list[int], number: list[int], n: int, entry: ov.Output | None) -> tuple[ov.Output, ...]:
        found: dict[Key, ov.Output] = {}
        for i in own:
            for value, source in zip(self._ordered[i].input_values(), self._inputs[i], strict=True):
                if number[source] != n and not self._constant[source]:
                    found.setdefault(key_of(value), value)
        if entry is not None:
            found.pop(key_of(entry), None)
        return tuple(found.values())

    def _gives(self, number: list[int], n: int, border: ov.Output) -> tuple[ov.Output, ...]:
        found = {key_of(border): border}
        for i, node in enumerate(self._ordered):
            if number[i] > n:
                for value, source in zip(node.input_values(), self._inputs[i], strict=True):
                    if number[source] == n:
                        found.setdefault(key_of(value), value)
        return tuple(found.values())
