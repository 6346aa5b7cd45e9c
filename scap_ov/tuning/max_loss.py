"""Find the largest sparsity whose loss holds on held-out text, by bisection over plans.

Plans are measured block by block where the model allows it, so that memory holds the weights of one block (block_losses). A plan holds
when the upper end of the 95 % interval of its loss, over windows and paired with the dense model, is at or below the limit; a text too
short to tell is refused with the length that would do.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.samples import pick_pieces
from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.fitting.fit import fit
from scap_ov.models.kinds import opened
from scap_ov.progress import Progress
from scap_ov.tuning.plan_losses import losses_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scap_ov.config import SparsityConfig
    from scap_ov.models.kinds import Model
    from scap_ov.models.runner import InferenceData
    from scap_ov.plan import SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile
    from scap_ov.tuning.plan_losses import PlanLosses

TOKENS = 16_384  # of held-out text, at most: a perplexity ratio near 1.01 is then told within 0.2 %
PART, LEAST_OF_PART = 4, 8  # one window in four is looked at first, where that makes eight
STEP = 0.005  # the sparsity is found within it
MOST = 0.85
LEAST = 0.05  # where not even this holds, the text or the limit is at fault
_SIGMAS = 1.96
_USUAL = 7  # plans that are tried, for the progress


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
    measured = _Measured(losses_of(opened(model), config), held_out, limit)
    tried: list[tuple[float, float, float, float]] = []

    def holds(target: float) -> SparsityPlan | None:
        plan = fit(profile, replace(config, target_sparsity=target, compensation=False))
        loss, half = measured.loss(plan)
        tried.append((target, loss, loss - half, loss + half))
        if progress:
            progress(min(len(tried), _USUAL - 1), _USUAL)
        return plan if loss + half <= limit.value else None

    best = holds(LEAST)
    if best is None:
        raise BadDatasetError(measured.too_short(*tried[-1][1:]))
    low, high = LEAST, MOST
    while high - low > STEP:
        middle = _next(tried, low, high, limit.value)
        plan = holds(middle)
        low, high, best = (middle, high, plan) if plan is not None else (low, middle, best)
    if progress:
        progress(_USUAL, _USUAL)
    target = best.config.target_sparsity
    _, loss, bottom, top = next(t for t in tried if t[0] == target)
    note = {"limit": f"{limit.measure} {limit.value:g}", "loss": loss, "interval_95": [bottom, top], "windows": measured.windows,
            "tokens": measured.tokens}  # fmt: skip
    best = replace(best, notes={**best.notes, "max_loss": note})
    return Found(best, loss, bottom, top, measured.windows, measured.tokens, tuple(tried))


def _next(tried: Sequence[tuple[float, float, float, float]], low: float, high: float, limit: float) -> float:
    """Where to look between a sparsity that holds and one that does not.

    The upper end of the interval grows about exponentially with the sparsity: where the line through its logarithms at both sides
    reaches the limit, and half a step beside it, so that the next try closes in from the other side. The middle where one is not known.
    """
    tops = {target: top for target, _, _, top in tried}
    if high not in tops or not 0 < tops[low] < tops[high]:
        return round((low + high) / 2, 4)
    slope = (math.log(tops[high]) - math.log(tops[low])) / (high - low)
    there = low + (math.log(limit) - math.log(tops[low])) / slope
    there += STEP / 2 if tried[-1][3] <= limit else -STEP / 2
    least = min(STEP, (high - low) / 4)
    return round(min(max(there, low + least), high - least), 4)


class _Measured:
    """Windows of held-out text and what plans lose there."""

    def __init__(self, losses: PlanLosses, held_out: InferenceData, limit: LossLimit) -> None:
        if limit.measure == "perplexity" and not losses.language:
            msg = "the model has no logits and so no perplexity; give max-loss as kl=0.01, which is 1 - cosine for such a model"
            raise UsageError(msg)
        self._losses, self._limit = losses, limit
        self._pieces = pick_pieces(losses, held_out, TOKENS)
        self.windows = len(self._pieces)
        self.tokens = int(sum(p.pruned.sum() for p in self._pieces))
        if self.windows < 4:
            msg = f"an interval needs 4 windows of held-out text, and there are {self.windows}; give more text or a shorter --window"
            raise BadDatasetError(msg)
        self._counts = np.array([p.pruned.sum() for p in self._pieces], np.float64)

    def loss(self, plan: SparsityPlan) -> tuple[float, float]:
        """Loss and half the width of its interval; of a part of the windows where that tells already that the plan loses too much."""
        measure = "kl" if self._limit.measure == "kl" else "nll"
        found = np.full(self.windows, np.nan)
        first = np.arange(self.windows) % PART == 0 if self.windows >= LEAST_OF_PART * PART else np.ones(self.windows, bool)
        for part in (first, ~first):
            if part.any():
                found[part] = self._losses.losses([p for p, own in zip(self._pieces, part, strict=True) if own], plan.entries, measure)
                loss, half = self._interval(~np.isnan(found), found)
                if loss - half > self._limit.value:
                    break
        return loss, half

    def _interval(self, seen: np.ndarray, found: np.ndarray) -> tuple[float, float]:
        """From the windows that were seen, bool [W]."""
        counts = self._counts[seen]
        sums, n = found[seen] * counts, int(seen.sum())
        mean = sums.sum() / counts.sum()
        residual = sums - counts * mean
        half = _SIGMAS * float(np.sqrt((residual**2).sum() * n / (n - 1)) / counts.sum())
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
