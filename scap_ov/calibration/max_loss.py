"""Find the largest sparsity whose loss holds on held-out text, by bisection over plans.

One compiled probe serves all plans. A plan holds when the upper end of the 95 % interval of its loss, over windows and paired with the
dense model, is at or below the limit; a text too short to tell is refused with the length that would do.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.probe_model import Reference
from scap_ov.calibration.probes import probe_of
from scap_ov.calibration.samples import pick_pieces
from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.fitting.fit import fit
from scap_ov.models.kinds import opened
from scap_ov.progress import Progress

if TYPE_CHECKING:
    from scap_ov.calibration.probe_model import ProbeModel, Settings
    from scap_ov.config import SparsityConfig
    from scap_ov.models.kinds import Model
    from scap_ov.models.runner import InferenceData
    from scap_ov.plan import SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile

TOKENS = 8192  # of held-out text, at most
STEP = 0.005  # the sparsity is found within it
MOST = 0.85
LEAST = 0.05  # where not even this holds, the text or the limit is at fault
_SIGMAS = 1.96


@dataclass(frozen=True)
class LossLimit:
    """What may be lost.

    :param measure: `perplexity`: relative increase; `kl`: mean KL(dense ‖ pruned) in nats.
    :param value: the limit, above 0.
    """

    measure: str
    value: float

    @classmethod
    def parse(cls, text: str) -> LossLimit:
        """`1%` or `0.01` of perplexity, `kl=0.02` nats.

        :raises UsageError: it is neither.
        """
        found = re.fullmatch(r"(?:(kl|perplexity)=)?([0-9.eE+-]+)(%?)", text.strip())
        try:
            value = float(found[2]) / (100 if found[3] else 1) if found else math.nan
        except ValueError:
            value = math.nan
        if not found or not 0 < value < 10 or (found[1] == "kl" and found[3]):
            msg = f"max-loss is '{text}'; give a share of perplexity such as 1%, or kl=0.02 for a mean divergence in nats"
            raise UsageError(msg)
        return cls(found[1] or "perplexity", value)


@dataclass(frozen=True)
class Found:
    """The plan that holds, and how sure that is.

    :param loss: measured on the held-out text.
    :param low: lower end of its 95 % interval.
    :param high: upper end, at or below the limit.
    :param tried: (sparsity, loss, low, high) of every plan that was tried, in order.
    """

    plan: SparsityPlan
    loss: float
    low: float
    high: float
    windows: int
    tokens: int
    tried: tuple[tuple[float, float, float, float], ...]


def largest_sparsity(
    model: Model,
    held_out: InferenceData,
    profile: CalibrationProfile,
    config: SparsityConfig,
    limit: LossLimit,
    *,
    progress: Progress | None = None,
) -> Found:
    """Bisect the target sparsity.

    :param held_out: text that the profile has not seen.
    :param config: all but its target counts.
    :raises BadDatasetError: there are fewer than four windows, or they cannot tell so small a loss; says how much text would do.
    :raises UsageError: a relative perplexity of a model without logits.
    """
    measured = _Measured(probe_of(opened(model), ramp=config.ramp, graded=config.method == "graded"), held_out, limit)
    tried: list[tuple[float, float, float, float]] = []
    steps = math.ceil(math.log2((MOST - LEAST) / STEP)) + 1

    def holds(target: float) -> SparsityPlan | None:
        plan = fit(profile, replace(config, target_sparsity=target, compensation=False))
        loss, half = measured.loss(plan)
        tried.append((target, loss, loss - half, loss + half))
        if progress:
            progress(len(tried), steps)
        return plan if loss + half <= limit.value else None

    best = holds(LEAST)
    if best is None:
        raise BadDatasetError(measured.too_short(*tried[-1][1:]))
    low, high = LEAST, MOST
    while high - low > STEP:
        middle = round((low + high) / 2, 4)
        plan = holds(middle)
        low, high, best = (middle, high, plan) if plan is not None else (low, middle, best)
    target = best.config.target_sparsity
    _, loss, bottom, top = next(t for t in tried if t[0] == target)
    note = {"limit": f"{limit.measure} {limit.value:g}", "loss": loss, "interval_95": [bottom, top], "windows": measured.windows,
            "tokens": measured.tokens}  # fmt: skip
    best = replace(best, notes={**best.notes, "max_loss": note})
    return Found(best, loss, bottom, top, measured.windows, measured.tokens, tuple(tried))


class _Measured:
    """Windows of held-out text and what the dense model gave for them."""

    def __init__(self, probe: ProbeModel, held_out: InferenceData, limit: LossLimit) -> None:
        if limit.measure == "perplexity" and not probe.language:
            msg = "the model has no logits and so no perplexity; give max-loss as kl=0.01, which is 1 - cosine for such a model"
            raise UsageError(msg)
        self._probe, self._limit = probe, limit
        self._pieces = pick_pieces(probe, held_out, TOKENS)
        self.windows = len(self._pieces)
        self.tokens = int(sum(p.pruned.sum() for p in self._pieces))
        if self.windows < 4:
            msg = f"an interval needs 4 windows of held-out text, and there are {self.windows}; give more text or a shorter --window"
            raise BadDatasetError(msg)
        self._counts = np.array([p.pruned.sum() for p in self._pieces], np.float64)
        dense = probe.dense()
        self._width = probe.reference_of(self._pieces[0].inputs).values.shape[-1]
        self._dense = np.array([self._one(i, dense) for i in range(self.windows)]) if limit.measure == "perplexity" else 0.0

    def loss(self, plan: SparsityPlan) -> tuple[float, float]:
        """Loss and half the width of its interval."""
        settings = self._probe.settings(plan.entries.values())
        sums = (np.array([self._one(i, settings) for i in range(self.windows)]) - self._dense) * self._counts
        mean = sums.sum() / self._counts.sum()
        residual = sums - self._counts * mean
        n = self.windows
        half = _SIGMAS * float(np.sqrt((residual**2).sum() * n / (n - 1)) / self._counts.sum())
        if self._limit.measure == "kl":
            return float(mean), half
        return float(np.expm1(mean)), float(np.exp(mean) * half)

    def too_short(self, loss: float, low: float, high: float) -> str:
        """Why nothing holds."""
        half = (high - low) / 2
        if low > self._limit.value:
            cost = f"{loss:.2g} of {self._limit.measure}"
            return f"even {LEAST:.0%} sparsity costs {cost}, more than {self._limit.value:g}; allow a larger loss"
        needed = math.ceil(self.tokens * (2 * half / self._limit.value) ** 2 / 1000) * 1000
        return (
            f"{self.tokens} tokens of held-out text tell the {self._limit.measure} loss of {LEAST:.0%} sparsity only as {loss:.2g} ± "
            f"{half:.1g}, too coarse for a limit of {self._limit.value:g}; give about {needed} tokens of it, or allow a larger loss"
        )

    def _one(self, index: int, settings: Settings) -> float:
        """Mean loss of one window. Dense distributions are computed anew: kept, they would take 200 kB a token."""
        piece = self._pieces[index]
        if self._limit.measure == "kl":
            return self._probe.loss(piece.inputs, settings, piece.pruned, self._probe.reference_of(piece.inputs))
        labels = np.asarray(piece.inputs["input_ids"]).reshape(-1)
        hot = np.zeros((len(labels), self._width), np.float32)
        hot[np.arange(len(labels) - 1), labels[1:]] = 1
        scored = piece.pruned.copy()
        scored[-1] = False  # the token that follows is not known
        return self._probe.loss(piece.inputs, settings, scored, Reference(hot, np.zeros(len(labels))))
