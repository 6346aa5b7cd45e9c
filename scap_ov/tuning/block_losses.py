"""What plans lose on windows of text, block by block: a pass over the blocks for all windows, then one over chunks of the vocabulary.

Memory holds the weights of one block, and of each window the hidden state behind the last block, dense and pruned; never all logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.block_model import BlockModel
from scap_ov.calibration.projection import LEAST_LOGIT
from scap_ov.calibration.samples import counted
from scap_ov.models.opened import OpenedModel, opened_model
from scap_ov.sites import SiteKind

if TYPE_CHECKING:
    import openvino as ov

    from scap_ov.calibration.flow import Flow
    from scap_ov.calibration.samples import Piece
    from scap_ov.plan import SitePlan

Seen = Callable[[int, "dict[str, np.ndarray]"], None]


@dataclass(frozen=True)
class Dense:
    """What the dense model gives for a window.

    :param flow: behind the last block.
    :param normaliser: log Σ exp(logits) of each row, float64 [R].
    """

    flow: Flow
    normaliser: np.ndarray


class BlockLosses:
    """Losses of plans against the dense model.

    :param model: stock model; it is cloned.
    :param lm_head: plans may prune the output projection.
    :param graded: plans may read channels by half.
    :param ramp: that of the plans.
    :param learn: with compensation, and ready to be differentiated.
    :raises UncutError: it cannot be cut into blocks.
    """

    language = True  # BlockModel takes no other

    def __init__(
        self, model: ov.Model | OpenedModel, *, lm_head: bool = False, graded: bool = False, ramp: float = 0.0, learn: bool = False
    ) -> None:
        opened = opened_model(model)
        prunes = [site.name for site in opened.sites if lm_head or site.kind is not SiteKind.LM_HEAD]
        self.blocks = BlockModel(opened, prunes=prunes, compensation=learn, graded=graded, ramp=ramp, learn=learn)
        self.stock, self.sites = opened.model, self.blocks.sites
        self.head_site = next((site.name for site in self.sites if lm_head and site.kind is SiteKind.LM_HEAD), None)
        self._dense: dict[int, Dense] = {}

    def losses(self, windows: Sequence[Piece], entries: Mapping[str, SitePlan], measure: str, seen: Seen | None = None) -> np.ndarray:
        """Mean loss over the rows that are pruned, by window, float64 [W].

        :param measure: `kl`: KL(dense ‖ pruned); `nll`: how much less likely the text becomes, per token; both in nats.
        :param seen: called block by block with a window's index and the inputs of sites by name.
        """
        dense = self.dense(windows)
        flows = self.pruned(windows, entries, seen)
        if seen:
            for index, flow in enumerate(flows):
                seen(index, self.blocks.head.taps(flow))
        sums = [_Sums(d, w, measure) for d, w in zip(dense, windows, strict=True)]
        for part, weights in self.blocks.head.chunks():
            for one, own, flow in zip(sums, dense, flows, strict=True):
                one.add(part, self.reference(own, part, weights), self.chunk(flow, part, weights, entries))
        return np.array([one.mean() for one in sums])

    def dense(self, windows: Sequence[Piece]) -> list[Dense]:
        """The dense model's hidden states and normalisers; computed once for each window."""
        new = [w for w in windows if w.digest not in self._dense]
        if new:
            flows = self.pruned(new, {})
            norms = [Normaliser() for _ in flows]
            for part, weights in self.blocks.head.chunks():
                for flow, norm in zip(flows, norms, strict=True):
                    norm.add(self.chunk(flow, part, weights, {}))
            self._dense |= {w.digest: Dense(f, n.log()) for w, f, n in zip(new, flows, norms, strict=True)}
        return [self._dense[w.digest] for w in windows]

    def pruned(self, windows: Sequence[Piece], entries: Mapping[str, SitePlan], seen: Seen | None = None) -> list[Flow]:
        """Windows behind the last block of the pruned model."""
        self.blocks.settings.prune(entries)
        flows = self.blocks.start(windows)
        for number in range(self.blocks.blocks):
            self.blocks.advance(number, flows, seen)
        return flows

    def chunk(self, flow: Flow, part: slice, weights: list[np.ndarray], entries: Mapping[str, SitePlan]) -> np.ndarray:
        """Logits of one window and one chunk of the vocabulary, float32 [R, n], valid until the next run."""
        if self.head_site:
            self.blocks.settings.prune(entries, self.head_site)
        return self.blocks.head.logits(flow, part, weights)

    def reference(self, dense: Dense, part: slice, weights: list[np.ndarray]) -> np.ndarray:
        """The dense model's log-probabilities of one chunk, float32 [R, n]; a copy."""
        logits = np.maximum(self.chunk(dense.flow, part, weights, {}), LEAST_LOGIT)
        return (logits - dense.normaliser[:, None]).astype(np.float32)


class Normaliser:
    """log Σ exp over chunks, row by row."""

    def __init__(self) -> None:
        self._peak = np.full(1, -np.inf)
        self._mass = np.zeros(1)

    def add(self, logits: np.ndarray) -> None:
        """Take in a chunk, float32 [R, n]."""
        peak = np.maximum(self._peak, np.maximum(logits.max(1), LEAST_LOGIT))
        with np.errstate(invalid="ignore"):  # before the first chunk
            kept = np.where(self._mass > 0, self._mass * np.exp(self._peak - peak), 0)
        self._mass = kept + np.exp(logits - peak[:, None].astype(np.float32)).sum(1, dtype=np.float64)
        self._peak = peak

    def log(self) -> np.ndarray:
        """float64 [R]."""
        return np.asarray(self._peak + np.log(self._mass))


class _Sums:
    """One window's loss on its way through the chunks: KL = Σ p (log p − logits) + log Σ exp(logits), and the same of one token."""

    def __init__(self, dense: Dense, window: Piece, measure: str) -> None:
        self._rows = counted(window.pruned, len(dense.normaliser))
        self._kl = measure == "kl"
        self._norm = Normaliser()
        self._difference = np.zeros(len(self._rows))
        if not self._kl:
            self._labels = np.asarray(window.inputs["input_ids"]).reshape(-1)[1:]
            self._rows = self._rows.copy()
            self._rows[-1] = False  # the token that follows is not known

    def add(self, part: slice, reference: np.ndarray, logits: np.ndarray) -> None:
        """:param reference: log-probabilities of the dense model. :param logits: of the pruned one, float32 [R, n]."""
        self._norm.add(logits)
        if self._kl:
            difference = reference - np.maximum(logits, LEAST_LOGIT)
            self._difference += np.einsum("rv,rv->r", np.exp(reference), difference, dtype=np.float64)
            return
        here = np.flatnonzero((self._labels >= part.start) & (self._labels < part.stop))
        at = self._labels[here] - part.start
        self._difference[here] = reference[here, at].astype(np.float64) - logits[here, at]

    def mean(self) -> float:
        """Over the rows that count."""
        return float((self._difference + self._norm.log())[self._rows].mean())
