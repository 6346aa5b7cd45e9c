"""Find the largest sparsity whose loss holds on held-out text, in two to four plans (docs/adr/0036-max-loss-in-few-plans.md).

Plans are measured block by block where the model allows it, so that memory holds the weights of one block (block_losses). A plan holds
when the upper end of the 95 % interval of its loss, over windows and paired with the dense model (tuning.interval), is at or below the
limit; a text too short to tell is refused with the length that would do. The shape of the loss over the sparsity is the one that the
profile's sensitivities predict, moved to what was measured; so the first plan tells about where the limit is reached.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.arguments import check_type
from scap_ov.calibration.samples import pick_windows
from scap_ov.errors import BadDatasetError, UsageError
from scap_ov.fitting.allocation.sensitivity import predicted_loss
from scap_ov.fitting.fit import allocated_shares, criterion_for, fit
from scap_ov.fitting.output_projection import decided
from scap_ov.models.kinds import opened
from scap_ov.progress import Progress
from scap_ov.scoping import sites_in_scope
from scap_ov.tuning.interval import NEAR, likelihood_interval, mean_interval
from scap_ov.tuning.plan_losses import losses_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scap_ov.config import SparsityConfig
    from scap_ov.models.kinds import Model
    from scap_ov.models.runner import InferenceData
    from scap_ov.plan import SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile
    from scap_ov.tuning.block_losses import WindowLosses
    from scap_ov.tuning.plan_losses import PlanLosses

TOKENS = 8_192  # of held-out text, at most
STEP = 0.01  # the sparsity is found within it
ENOUGH = 0.93  # of the limit: a plan that loses as much, by the upper end of its interval, is as good as found
AIM = 0.965  # of the limit: what the next plan is to lose
FIRST = 6.0  # times the limit, expected of the first plan: heavy plans tell the ratio of perplexity to divergence best (ADR 0054)
MAX_SPARSITY = 0.85
MIN_SPARSITY = 0.05  # where not even this holds, the text or the limit is at fault
TRIES = 8
_GRID = np.round(np.arange(MIN_SPARSITY, MAX_SPARSITY + 1e-9, 0.0025), 4)
_GROWTH = 10.0  # of the logarithm of the loss over the sparsity, where the profile predicts nothing
_USUAL = 3  # plans that are tried, for the progress


@dataclass(frozen=True)
class LossLimit:
    """What may be lost.

    :param measure: `perplexity`: relative increase; `kl`: mean KL(dense ‖ pruned) in nats.
    :param value: the limit, above 0.
    """

    measure: str
    value: float

    @property
    def nats(self) -> float:
        """The limit of the mean loss per token."""
        return math.log1p(self.value) if self.measure == "perplexity" else self.value

    @classmethod
    def parse(cls, text: str) -> LossLimit:
        """`1%` or `0.01` of perplexity, `kl=0.02` nats.

        :raises UsageError: it is neither.
        """
        check_type("max_loss", text, str, "text such as '1%' of perplexity, or 'kl=0.02' nats")
        found = re.fullmatch(r"(?:(kl|perplexity)=)?([0-9.eE+-]+)(%?)", text.strip())
        try:
            value = float(found[2]) / (100 if found[3] else 1) if found else math.nan
        except ValueError:
            value = math.nan
        if not found or not 0 < value < 10 or (found[1] == "kl" and found[3]):
            told = f"max-loss is '{text}'" if text else "max_loss is empty"
            msg = f"{told}; give a share of perplexity such as 1%, or kl=0.02 for a mean divergence in nats"
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
    """Try plans until one loses about as much as it may.

    :param held_out: text that the profile has not seen.
    :param config: all but its target counts.
    :raises BadDatasetError: there are fewer than four windows, or they cannot tell so small a loss; says how much text would do.
    :raises UsageError: a relative perplexity of a model without logits.
    """
    measured = _Measured(losses_of(opened(model), config), held_out, limit)
    shape = expected_shape(profile, config)
    plans: dict[float, SparsityPlan] = {}
    target: float | None = first_target(shape, limit.nats)
    while target is not None and len(plans) < TRIES:
        plans[target] = fit(profile, replace(config, target_sparsity=target, compensation=False))
        measured.take(target, plans[target])
        if progress:
            progress(min(len(plans), _USUAL), max(_USUAL, len(plans) + 1))
        target = next_target(shape, {t: measured.interval(t)[2] for t in plans}, limit.value)
    tried = tuple((t, *measured.interval(t)) for t in plans)
    best = max((t for t, _, _, top in tried if top <= limit.value), default=None)
    if best is None:
        raise BadDatasetError(measured.too_short(min(plans)))
    if progress:
        progress(1, 1)
    _, loss, low, high = next(t for t in tried if t[0] == best)
    note = {"limit": f"{limit.measure} {limit.value:g}", "loss": loss, "interval_95": [low, high], "windows": measured.windows,
            "tokens": measured.tokens, "tried": [list(t) for t in tried]}  # fmt: skip
    plan = replace(plans[best], notes={**plans[best].notes, "max_loss": note})
    return Found(plan, loss, low, high, measured.windows, measured.tokens, tried)


def expected_shape(profile: CalibrationProfile, config: SparsityConfig) -> np.ndarray:
    """The logarithm of the divergence that the profile's sensitivities predict at each sparsity of the grid, float64 [P]."""
    criterion = criterion_for(config)
    in_scope = sites_in_scope(profile.sites, decided(profile, config))
    if criterion.allocation != "sensitivity" or not all(site.name in profile.sensitivity for site in in_scope):
        return _GROWTH * (_GRID - MIN_SPARSITY) + np.log(1e-3)
    knots = _GRID[:: len(_GRID) // 16]
    losses = [
        predicted_loss(profile, allocated_shares(profile, replace(config, target_sparsity=float(t)), criterion), criterion) for t in knots
    ]
    return np.asarray(np.interp(_GRID, knots, np.log(np.maximum(np.maximum.accumulate(losses), 1e-12))))


def first_target(shape: np.ndarray, nats: float) -> float:
    """Where FIRST times the limit is expected."""
    return float(_GRID[min(int(np.searchsorted(shape, np.log(FIRST * nats))), len(_GRID) - 1)])


def next_target(shape: np.ndarray, tops: Mapping[float, float], limit: float) -> float | None:
    """The sparsity to try next, or None when the search is over.

    :param shape: of the logarithm of the loss over the grid.
    :param tops: upper ends of the intervals of the losses, by the sparsities that were tried.
    """
    low = max((t for t, top in tops.items() if top <= limit), default=None)
    high = min((t for t, top in tops.items() if top > limit and (low is None or t > low)), default=None)
    if low is not None and (tops[low] >= ENOUGH * limit or low >= _GRID[-1] or (high is not None and high - low <= STEP)):
        return None
    if high is not None and high <= MIN_SPARSITY:
        return None
    at = np.array(sorted(tops))
    above = np.log([max(tops[t], 1e-9) for t in at]) - np.interp(at, _GRID, shape)  # what was measured, over what was expected
    if len(at) > 1:
        at, above = _extended(at, above)
    there = int((shape + np.interp(_GRID, at, above) <= np.log(AIM * limit)).sum()) - 1
    margin = STEP / 2
    left = MIN_SPARSITY if low is None else low + margin
    right = MAX_SPARSITY if high is None else high - margin
    return float(np.round(np.clip(_GRID[max(there, 0)], min(left, right), right), 4))


def _extended(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the ends of the grid, to which the values go on as straight as between the first and between the last two."""
    ends = np.array([MIN_SPARSITY, MAX_SPARSITY])
    beyond = values[[0, -1]] + (np.diff(values) / np.diff(at))[[0, -1]] * (ends - at[[0, -1]])
    return np.concatenate([ends[:1], at, ends[1:]]), np.concatenate([beyond[:1], values, beyond[1:]])


class _Measured:
    """Windows of held-out text and what plans lose there."""

    def __init__(self, losses: PlanLosses, held_out: InferenceData, limit: LossLimit) -> None:
        if limit.measure == "perplexity" and not losses.language:
            msg = "the model has no logits and so no perplexity; give max-loss as kl=0.01, which is 1 - cosine for such a model"
            raise UsageError(msg)
        self._losses, self._limit = losses, limit
        self._pieces = pick_windows(losses, held_out, TOKENS)
        self.windows = len(self._pieces)
        self.tokens = int(sum(p.pruned.sum() for p in self._pieces))
        if self.windows < 4:
            msg = f"an interval needs 4 windows of held-out text, and there are {self.windows}; give more text or a shorter --window"
            raise BadDatasetError(msg)
        self._counts = np.array([p.pruned.sum() for p in self._pieces], np.float64)
        self._found: dict[float, WindowLosses] = {}

    def take(self, target: float, plan: SparsityPlan) -> None:
        """Measure a plan."""
        self._found[target] = self._losses.losses(self._pieces, plan.entries)

    def interval(self, target: float) -> tuple[float, float, float]:
        """Loss of a plan that was taken, and the ends of its 95 % interval; more certain with every other plan."""
        own = self._found[target]
        if self._limit.measure == "kl":
            mean, half = mean_interval(own.kl, self._counts)
            return mean, mean - half, mean + half
        near = [f for f in self._found.values() if np.average(f.kl, weights=self._counts) <= NEAR * self._limit.nats] or [own]
        mean, half = likelihood_interval(own, near, self._counts)
        return float(np.expm1(mean)), float(np.expm1(mean - half)), float(np.expm1(mean + half))

    def too_short(self, target: float) -> str:
        """Why nothing holds."""
        loss, low, high = self.interval(target)
        half = (high - low) / 2
        if low > self._limit.value:
            cost = f"{loss:.2g} of {self._limit.measure}"
            return f"even {target:.0%} sparsity costs {cost}, more than {self._limit.value:g}; allow a larger loss"
        needed = math.ceil(self.tokens * (2 * half / self._limit.value) ** 2 / 1000) * 1000
        return (
            f"{self.tokens} tokens of held-out text tell the {self._limit.measure} loss of {target:.0%} sparsity only as {loss:.2g} ± "
            f"{half:.1g}, too coarse for a limit of {self._limit.value:g}; give about {needed} tokens of it, or allow a larger loss"
        )
