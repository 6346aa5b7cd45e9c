"""Levels of a model in its packed constants: sections that depend on the level hold a block for each, one behind the other.

docs/packing.md draws it; ADR 0023 says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import openvino as ov

from scap_ov.custom_ops import BLOCK_OP_NAME, EXPERTS_OP_NAME, OP_NAME, OP_NAMES
from scap_ov.errors import UsageError
from scap_ov.plan import SitePlan, SparsityPlan

VERSION = 2  # of an op that has levels, kVersionOfLevels of custom_ops/src/op_version.hpp
_TOLERANCE = 1e-4  # files hold levels as float32


@dataclass(frozen=True)
class Dial:
    """Levels of an op, as its attributes name them.

    :param levels: ascending shares of bytes; 0 is the dense model.
    :param start: index of the level that a model starts with.
    :param model: the model's name, by which a level is chosen where several are loaded.
    :param op: number of the op in the model.
    """

    levels: tuple[float, ...]
    start: int
    model: str = ""
    op: int = 0

    def attributes(self) -> dict[str, object]:
        """As the op takes them."""
        return {"version": VERSION, "levels": list(self.levels), "start_level": self.start, "level_model": self.model, "level_op": self.op}


class PlannedLevels:
    """The levels of a plan, for lowering: what each site has at each level, and a number for every op that is made."""

    def __init__(self, plan: SparsityPlan) -> None:
        self._levels = tuple(sorted(plan.levels))
        self._start = self._levels.index(plan.start_level)
        self._entries = [plan.levels[level] for level in self._levels]
        self._numbers = count()

    def dial(self) -> Dial:
        """For the next op."""
        return Dial(self._levels, self._start, op=next(self._numbers))

    def entries(self, site: str) -> list[SitePlan]:
        """Of each level; one that drops nothing where a level leaves the site whole."""
        nothing = SitePlan(site, np.full(1, -1, np.float32), np.zeros(1, np.float32), 0.0)
        return [entries.get(site, nothing) for entries in self._entries]


def dial_of(node: ov.Node) -> Dial | None:
    """The levels of an op, or None where it has none; of a fused block, those of its first part."""
    attributes = node.get_attributes()
    part = "o_" if node.get_type_name() == BLOCK_OP_NAME else ""
    levels = tuple(round(float(level), 6) for level in attributes.get(f"{part}levels", ()))
    if not levels:
        return None
    start, model, op = (attributes[part + name] for name in ("start_level", "level_model", "level_op"))
    return Dial(levels, int(start), str(model), int(op))


def levels_in(model: ov.Model) -> Dial | None:
    """The levels of a model, or None where it has none."""
    ours = (node for node in model.get_ordered_ops() if node.get_type_name() in OP_NAMES)
    return next((dial for dial in map(dial_of, ours) if dial is not None), None)


def name_model(model: ov.Model, name: str) -> None:
    """Give a model with levels the name by which they are chosen, in place. Fused blocks are split before."""
    for node in model.get_ordered_ops():
        if node.get_type_name() in (OP_NAME, EXPERTS_OP_NAME) and dial_of(node) is not None:
            node.set_attribute("level_model", name)


@dataclass(frozen=True)
class Blocks:
    """How the sections of an op are cut: into `count` blocks, of which the one at `index` is read."""

    count: int = 1
    index: int = 0

    @classmethod
    def of(cls, node: ov.Node, level: float | None) -> Blocks:
        """The block of a level; None for the one that the model starts with, or all there is of an op without levels.

        :raises UsageError: the op has levels, and not this one.
        """
        dial = dial_of(node)
        if dial is None:
            return cls()
        return cls(len(dial.levels), dial.start if level is None else level_index(dial.levels, level))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """[count · n] -> [n]."""
        return values.reshape(self.count, -1)[self.index] if values.size else values


def joined_entries(entries: Sequence[SitePlan]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, threshold and whole_threshold of a site at all levels, block behind block, as an op takes them.

    :return: float32 [L] or [L · K] each; the last one is empty where no level reads by half.
    """
    none = np.zeros(0, np.float32)
    whole = [none if entry.whole_threshold is None else entry.whole_threshold for entry in entries]
    return joined([e.center for e in entries], 0.0), joined([e.threshold for e in entries], -1.0), joined(whole, -1.0)


def joined(blocks: Sequence[np.ndarray], missing: float) -> np.ndarray:
    """Blocks of one size behind one another: single values are repeated, `missing` stands where a level has none. Empty where none has."""
    size = max(block.size for block in blocks)
    if not size:
        return np.zeros(0, np.float32)
    filled = [block if block.size else np.full(1, missing, np.float32) for block in blocks]
    return np.concatenate([np.broadcast_to(np.asarray(block, np.float32), size) for block in filled])


def level_index(levels: Sequence[float], level: float) -> int:
    """The place of a level among those of a model.

    :raises UsageError: it is none of them.
    """
    found = [i for i, own in enumerate(levels) if abs(own - level) < _TOLERANCE]
    if not found:
        msg = f"level {level:g} is not in the model; it has {', '.join(f'{own:g}' for own in levels)}"
        raise UsageError(msg)
    return found[0]
