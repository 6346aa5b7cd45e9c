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
    from scap_ov.calibration.samples import CalibrationWindow
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


@dataclass(frozen=True)
class WindowLosses:
    """Means over the rows of each window that are pruned, in nats.

    :param kl: KL(dense ‖ pruned), or what main_output says for a model without logits, float64 [W].
    :param nll: how much less likely the text becomes, per token, float64 [W]; NaN where the inputs hold no tokens.
    """

    kl: np.ndarray
    nll: np.ndarray


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

    def losses(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan], seen: Seen | None = None) -> WindowLosses:
        """What a plan loses on each window.

        :param seen: called block by block with a window's index and the inputs of sites by name.
        """
        dense = self.dense(windows)
        flows = self.pruned(windows, entries, seen)
        if seen:
            for index, flow in enumerate(flows):
                seen(index, self.blocks.head.taps(flow))
        sums = [_Sums(d, w) for d, w in zip(dense, windows, strict=True)]
        for part, weights in self.blocks.head.chunks():
            for one, own, flow in zip(sums, dense, flows, strict=True):
                one.add(part, self.reference(own, part, weights), self.chunk(flow, part, weights, entries))
        return WindowLosses(*(np.array(each, np.float64) for each in zip(*(one.means() for one in sums), strict=True)))

    def dense(self, windows: Sequence[CalibrationWindow]) -> list[Dense]:
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

    def pruned(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan], seen: Seen | None = None) -> list[Flow]:
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

    def __init__(self, dense: Dense, window: CalibrationWindow) -> None:
        self._rows = counted(window.pruned, len(dense.normaliser))
        self._norm = Normaliser()
        self._difference, self._own = np.zeros((2, len(self._rows)))
        ids = window.inputs.get("input_ids")
        self._labels = None if ids is None else np.asarray(ids).reshape(-1)[1:]

    def add(self, part: slice, reference: np.ndarray, logits: np.ndarray) -> None:
        """:param reference: log-probabilities of the dense model. :param logits: of the pruned one, float32 [R, n]."""
        self._norm.add(logits)
        difference = reference - np.maximum(logits, LEAST_LOGIT)
        self._difference += np.einsum("rv,rv->r", np.exp(reference), difference, dtype=np.float64)
        if self._labels is not None:
            here = np.flatnonzero((self._labels >= part.start) & (self._labels < part.stop))
            at = self._labels[here] - part.start
            self._own[here] = reference[here, at].astype(np.float64) - logits[here, at]

    def means(self) -> tuple[float, float]:
        """Of both, over the rows that count; the last row's token is not known."""
        log = self._norm.log()
        kl = float((self._difference + log)[self._rows].mean())
        return kl, np.nan if self._labels is None else float((self._own + log)[:-1][self._rows[:-1]].mean())
