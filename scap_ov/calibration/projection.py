"""The output projection and the loss, in chunks of the vocabulary: neither all logits nor all weights lie in memory.

Two passes over the chunks. The first gives every row's normaliser (and what depends on it alone: a divergence, the chunk in which a sampled
token lies), the second the gradient of the loss, chunk by chunk. A projection that cannot be split is one chunk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.errors import BadModelError
from scap_ov.gradients.program import Program
from scap_ov.mapped_pages import let_go
from scap_ov.passes.rules.tensors import key_of

if TYPE_CHECKING:
    import openvino as ov

    from scap_ov.calibration.flow import Flow
    from scap_ov.calibration.site_settings import SiteSettings
    from scap_ov.gradients.layout import Slot
    from scap_ov.gradients.piecewise import Piecewise, Values

CHUNK_BYTES = 64 << 20  # of weights as f32
_ROWS = 16  # of logits: 16 x 18,724 in f32 are 1.2 MB
LEAST_LOGIT = np.float32(-1e30)  # a chunk may hold nothing but tokens that are ruled out by -inf
_BY_ENTRY = frozenset(("Add", "Subtract", "Multiply", "Divide", "Tanh", "Convert", "MatMul", "Result", "Clamp"))


@dataclass
class HeadGradient:
    """Of one window.

    :param entry: gradient at the hidden state behind the last block, float32 [..., H].
    :param inputs: by site name, its input and the gradient there, float32 [..., K]; empty where the projection is no site.
    """

    entry: np.ndarray
    inputs: dict[str, tuple[np.ndarray, np.ndarray]]


class Projection:
    """The last piece of a model.

    :param pieces: of the model.
    :param settings: of its sites.
    :param result: the logits.
    """

    def __init__(self, pieces: Piecewise, settings: SiteSettings, result: ov.Output) -> None:
        self._pieces, self._settings = pieces, settings
        self._piece, self._layout, self._tapped = pieces.pieces[-1], pieces.layouts[-1], pieces.taps[-1]
        self.vocabulary = result.get_partial_shape()[-1].get_length()
        self._matrices = _splittable(self._piece.nodes, self._layout.slots, self.vocabulary)
        self.chunk = self.vocabulary
        if self._matrices:
            self.chunk = max(min(CHUNK_BYTES // (4 * sum(slot.weight.k for slot in self._matrices if slot.weight)), self.vocabulary), 64)
        width = self.vocabulary if self._matrices else None
        self._program = Program(self._piece, self._layout, list(self._tapped.values()), settings.pruning, width)
        self._rows: tuple[int, ...] = ()
        self._fixed = [None if self._matrices and self.vocabulary in s.shape else _filled(s) for s in self._layout.slots]

    def check_gradients(self) -> None:
        """Write the derivative.

        :raises BadModelError: an operation has no gradient rule.
        """
        self._program.derive()

    def chunks(self) -> Iterator[tuple[slice, list[np.ndarray]]]:
        """Parts of the vocabulary, with the weights of each as f32."""
        for start in range(0, self.vocabulary, self.chunk):
            part = slice(start, min(start + self.chunk, self.vocabulary))
            yield part, [self._part(s, part) if f is None else f for s, f in zip(self._layout.slots, self._fixed, strict=True)]
        let_go(*(np.asarray(slot.weight.constant.data) for slot in self._layout.slots if slot.weight is not None))

    def values(self, number: int, flow: Flow) -> Values:
        """All that a piece may read."""
        entry = self._pieces.pieces[number].entry
        return {**flow.values, **self._settings.values, **({key_of(entry): flow.hidden} if entry is not None else {})}

    def taps(self, flow: Flow) -> dict[str, np.ndarray]:
        """The input of the projection, where that is a site; copies."""
        found = self._program.taps_alone(self._reads(flow, slice(0, 0)))
        return {name: np.array(a) for name, a in zip(self._tapped, found, strict=True)}

    def logits(self, flow: Flow, part: slice, weights: list[np.ndarray]) -> np.ndarray:
        """Of one window and one chunk, float32 [R, n], valid until the next run."""
        found = self._program.forward(self._reads(flow, part), weights)[0]
        self._rows = found.shape[:-1]
        return found.reshape(-1, found.shape[-1])

    def gradient(self, flow: Flow, part: slice, weights: list[np.ndarray], slope: np.ndarray) -> list[np.ndarray]:
        """Of the loss, from its gradient at a chunk's logits, float32 [R, n]: at the entry and at wanted tensors, then those themselves.

        `logits` was called last for the same window and chunk.
        """
        return self._program.backward(self._reads(flow, part), weights, slope.reshape(*self._rows, -1))

    def collect(self, sums: list[np.ndarray] | None, found: list[np.ndarray]) -> list[np.ndarray]:
        """Add the gradients of a chunk to those of the chunks before; values are kept as they are."""
        count = len(self._piece.wanted)
        if sums is None:
            return [np.array(f) for f in found]
        for index in range(1 + count):
            sums[index] += found[index]
        return sums

    def finished(self, sums: list[np.ndarray]) -> HeadGradient:
        """The whole gradient."""
        count = len(self._piece.wanted)
        return HeadGradient(sums[0], {w.name: (sums[1 + count + i], sums[1 + i]) for i, w in enumerate(self._piece.wanted)})

    def _reads(self, flow: Flow, part: slice) -> list[np.ndarray]:
        values = self.values(len(self._pieces.pieces) - 1, flow)
        reads = [values[key_of(v)] for v in self._layout.reads]
        if not self._matrices:
            return reads
        return [r[..., part] if r.ndim == 1 and r.shape[-1] == self.vocabulary else r for r in reads]

    def _part(self, slot: Slot, part: slice) -> np.ndarray:
        size = part.stop - part.start
        if slot.weight is None:
            return np.ascontiguousarray(_filled(slot)[..., part])
        made = np.empty((slot.shape[0], size) if slot.turned else (size, slot.shape[1]), np.float32)
        slot.fill_part(made, part.start)
        return made


@dataclass
class _Normaliser:
    """Of each row: the largest logit and the mass of every chunk relative to that chunk's largest, in order."""

    peaks: list[np.ndarray]
    masses: list[np.ndarray]

    def add(self, logits: np.ndarray) -> None:
        peak, mass = np.empty(len(logits), np.float32), np.empty(len(logits))

        def work(rows: slice) -> None:
            peak[rows] = np.maximum(logits[rows].max(1), LEAST_LOGIT)
            mass[rows] = np.exp(logits[rows] - peak[rows, None]).sum(1, dtype=np.float64)

        in_parts(len(logits), work)
        self.peaks.append(peak)
        self.masses.append(mass)

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """Largest logit float32 [R], and mass of each chunk relative to it, float64 [C, R]."""
        peak = np.max(self.peaks, axis=0)
        with np.errstate(invalid="ignore"):  # infinite logits are told of where losses are
            return peak, np.stack(self.masses) * np.exp(np.stack(self.peaks).astype(np.float64) - peak)


def sampled_gradient(head: Projection, flows: Sequence[Flow]) -> list[HeadGradient]:
    """Gradients of the log-likelihood (negative) of one token of each row that counts, drawn from the model's own distribution.

    The draw depends on the window's content alone, so it is the same on every machine.

    :param flows: windows behind the last block.
    """
    norms = [_Normaliser([], []) for _ in flows]
    for part, weights in head.chunks():
        for flow, norm in zip(flows, norms, strict=True):
            norm.add(head.logits(flow, part, weights))
    draws = [_Draw(flow, norm) for flow, norm in zip(flows, norms, strict=True)]
    sums: list[list[np.ndarray] | None] = [None] * len(flows)
    for number, (part, weights) in enumerate(head.chunks()):
        for i, (flow, draw) in enumerate(zip(flows, draws, strict=True)):
            slope = draw.slope(number, head.logits(flow, part, weights))
            sums[i] = head.collect(sums[i], head.gradient(flow, part, weights, slope))
    return [head.finished(s) for s in sums if s is not None]


class _Draw:
    """One token for each row of a window."""

    def __init__(self, flow: Flow, norm: _Normaliser) -> None:
        self._counts = flow.window.pruned
        self._peak, masses = norm.whole()
        if masses.shape[1] != len(self._counts):
            msg = f"it gives {masses.shape[1]} rows of logits for {len(self._counts)} tokens"
            raise BadModelError(msg)
        raw = np.random.PCG64(flow.window.digest).random_raw(len(self._counts))
        uniform = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        ends = np.cumsum(masses, axis=0)
        self._total = ends[-1]
        self._at = uniform * self._total
        self._chunk = np.minimum((ends < self._at).sum(0), len(masses) - 1)
        self._before = np.concatenate([np.zeros((1, len(self._at))), ends[:-1]])

    def slope(self, number: int, logits: np.ndarray) -> np.ndarray:
        """Probabilities of one chunk, less 1 at the token that was drawn; zero in rows that do not count. float32 [R, n]."""
        probability = np.empty(logits.shape, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (self._counts / self._total).astype(np.float32)
        drawn = (self._chunk == number) & self._counts

        def work(rows: slice) -> None:
            own = probability[rows]
            np.exp(np.subtract(logits[rows], self._peak[rows, None], out=own), out=own)
            here = np.flatnonzero(drawn[rows])
            ends = np.cumsum(own[here], axis=1, dtype=np.float64) + self._before[number][rows][here, None]
            index = np.minimum((ends < self._at[rows][here, None]).sum(1), logits.shape[1] - 1)
            own *= share[rows, None]
            own[here, index] -= 1

        in_parts(len(logits), work)
        return probability


def in_parts(count: int, work: Callable[[slice], None]) -> None:
    """Call `work` with a few rows at a time, which stay in the cache, in as many threads as there are cores.

    Infinite logits are told of by the loss that they give, NaN, and by no warning of numpy.
    """

    def quietly(rows: slice) -> None:
        with np.errstate(invalid="ignore"):
            work(rows)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(quietly, [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]))


def _splittable(nodes: Sequence[ov.Node], slots: Sequence[Slot], vocabulary: int) -> list[Slot]:
    """The weights to take in chunks: of the only layer, behind which everything is computed entry by entry; read by half it has two."""
    matrices = [s for s in slots if s.weight is not None and s.weight.n == vocabulary]
    if not matrices or sum(node.get_type_name() == "MatMul" for node in nodes) != len(matrices):
        return []
    behind, reached = [], {slot.reader.get_instance_id() for slot in matrices}
    for node in nodes:
        if node.get_instance_id() in reached or any(v.get_node().get_instance_id() in reached for v in node.input_values()):
            reached.add(node.get_instance_id())
            behind.append(node)
    wide = all(s.shape[-1] == vocabulary for s in slots if s not in matrices and vocabulary in s.shape)
    return matrices if wide and all(node.get_type_name() in _BY_ENTRY for node in behind) else []


def _filled(slot: Slot) -> np.ndarray:
    made = np.empty(slot.shape, np.float32)
    slot.fill(made)
    return made
