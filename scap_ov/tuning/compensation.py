"""Learn a constant that pruned rows add to the outputs of each site, and thresholds that go with it, by gradients; no labels needed.

The loss is KL(dense ‖ pruned) on calibration text, the steps are Adam's. Sparsity is held: the thresholds of the sites move against
each other, and together by what the constants have changed. Text is held out of the steps, and what was learned is kept only where it
lowers the loss there at the sparsity that the plan had: idea of SPON (arXiv 2512.12744). After: fitting.fit.
Block by block where the model allows it (plan_slopes), so that memory holds the weights of one block.
Cost: about four forward passes over TOKENS_A_STEP tokens a step, and seven times the held-out text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.samples import pick_windows
from scap_ov.errors import BadDatasetError
from scap_ov.fitting.output_error import output_energy
from scap_ov.models.opened import OpenedModel
from scap_ov.progress import Progress
from scap_ov.tuning.plan_slopes import slopes_of

if TYPE_CHECKING:
    import openvino as ov

    from scap_ov.calibration.samples import CalibrationWindow
    from scap_ov.models.runner import InferenceData
    from scap_ov.plan import SitePlan, SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile

STEPS = 64  # at most; fewer where the text is read once before
TOKENS_A_STEP = 512
HELD_OUT = 2048  # tokens
RATE = 0.001  # of the root mean square of a site's output, the largest step; 0.006 fits noise, docs/adr/0008
THRESHOLD_RATE = 0.004  # of a threshold, likewise
WARM_UP = 5  # steps until the rate is whole; from there it falls to zero along a cosine
SHARES = (1.0, 0.5)  # of the way that the descent went, tried on the held-out text
MOST_SHIFT = 0.1  # of the logarithm of all thresholds, in one go
_BETAS = (0.9, 0.98)
_ALL = 1 << 40  # tokens: every sample


def fit_compensation(
    model: ov.Model | OpenedModel,
    dataset: InferenceData,
    profile: CalibrationProfile,
    plan: SparsityPlan,
    *,
    steps: int | None = None,
    progress: Progress | None = None,
) -> SparsityPlan:
    """The plan with a compensation for every entry and thresholds that fit it, or as it was where that does not help on held-out text.

    1. Position 0 of a sequence, which is computed dense, neither gets the constant nor counts.
    2. On the held-out text the new plan drops as much as the old one.
    3. `plan.notes["compensation"]` tells the loss there before and after, and whether the new constants were kept.

    :param profile: what the plan was fitted from; gives the size of the outputs.
    :param steps: of the descent; None for one pass over the samples, at most STEPS.
    :raises BadModelError: the model has no logits, or an operation without a gradient rule.
    :raises BadDatasetError: the data has fewer than four samples that start a sequence.
    """
    learner = _Learner(model, profile, plan)
    pieces = pick_windows(learner.model, dataset, _ALL)
    if len(pieces) < 4:
        msg = f"compensation is fitted on some samples and checked on others, and the calibration data has {len(pieces)}; give 4 or more"
        raise BadDatasetError(msg)
    size = float(np.mean([p.pruned.sum() for p in pieces]))
    count = int(np.clip(round(HELD_OUT / size), 1, len(pieces) // 2))
    held = {int(i) for i in (np.arange(count) + 0.5) * len(pieces) / count}
    check, train = [pieces[i] for i in sorted(held)], [p for i, p in enumerate(pieces) if i not in held]
    before, sparsity = learner.measure(check)
    batch = max(round(TOKENS_A_STEP / size), 1)
    steps = min(STEPS, max(len(train) // batch, 1)) if steps is None else steps
    learner.descend(train, batch, steps, progress)
    share, after, reached = learner.best_share(check, sparsity)
    told = {"held_out_loss_before": before, "held_out_loss_after": after, "held_out_sparsity_before": sparsity,
            "held_out_sparsity_after": reached, "kept": after < before, "steps": steps, "share": share}  # fmt: skip
    notes = {**plan.notes, "compensation": told}
    if after >= before:
        return replace(plan, notes=notes)
    return replace(plan, entries=plan.entries | learner.entries(), notes=notes)


class _Learner:
    """A plan's constants and thresholds while they move.

    :param moved: how far the logarithm of each site's thresholds has moved.
    :param constants: by site, float64 [N].
    """

    def __init__(self, model: ov.Model | OpenedModel, profile: CalibrationProfile, plan: SparsityPlan) -> None:
        self.model = slopes_of(model, plan)
        self.sites = [s for s in self.model.sites if s.name in plan.entries and not s.experts]  # the op for experts has none
        self._plan = plan
        self.moved = {site.name: 0.0 for site in self.sites}
        self.constants = {site.name: np.zeros(site.out_features) for site in self.sites}
        counts = np.array([s.weight_bytes for s in self.sites], np.float64)
        self.weights = counts / counts.sum()
        self.target = float(self.weights @ [plan.entries[s.name].expected_sparsity for s in self.sites])
        self._density = 1.0  # d(unread share) / d(log of all thresholds); measured by every step
        self._sizes = {s.name: float(np.sqrt(output_energy(profile.statistics[s.name]) / s.out_features)) for s in self.sites}

    def entries(self) -> dict[str, SitePlan]:
        """The plan's entries as they are now; of the sites that are learned."""
        found = {}
        for site in self.sites:
            entry = self._plan.entries[site.name].scaled(float(np.exp(self.moved[site.name])))
            found[site.name] = replace(entry, compensation=self.constants[site.name].astype(np.float32))
        return found

    def measure(self, pieces: Sequence[CalibrationWindow]) -> tuple[float, float]:
        """Mean loss, and the share of weight bytes that are not read."""
        rows = [p.pruned.sum() for p in pieces]
        losses, shares = self.model.measure(pieces, self._plan.entries | self.entries())
        unread = self.weights @ np.stack([shares[s.name] for s in self.sites])
        return float(np.average(losses, weights=rows)), float(np.average(unread, weights=rows))

    def at_sparsity(self, pieces: Sequence[CalibrationWindow], sparsity: float) -> tuple[float, float]:
        """The same, after all thresholds were moved by one factor so that `sparsity` is dropped."""
        loss, reached = self.measure(pieces)
        for _ in range(2):
            self.shift((sparsity - reached) / max(self._density, 1e-3))
            loss, reached = self.measure(pieces)
        return loss, reached

    def best_share(self, pieces: Sequence[CalibrationWindow], sparsity: float) -> tuple[float, float, float]:
        """Stop at that share of the way from the plan which has the least loss at this sparsity.

        :return: the share, the loss, the sparsity.
        """
        moved, constants = dict(self.moved), dict(self.constants)
        found = []
        for share in SHARES:
            self.constants = {name: share * value for name, value in constants.items()}
            self.moved = {name: share * by for name, by in moved.items()}
            loss, reached = self.at_sparsity(pieces, sparsity)
            found.append((loss, share, reached, self.moved))
        loss, share, reached, self.moved = min(found, key=lambda f: f[0])
        self.constants = {name: share * value for name, value in constants.items()}
        return share, loss, reached

    def shift(self, by: float) -> None:
        """Move all thresholds, in the logarithm."""
        step = float(np.clip(by, -MOST_SHIFT, MOST_SHIFT))
        self.moved = {name: value + step for name, value in self.moved.items()}

    def descend(self, train: Sequence[CalibrationWindow], batch: int, steps: int, progress: Progress | None) -> None:
        """Adam from where the plan is, the samples in an order that mixes the text, each once before any is repeated."""
        order = np.random.default_rng(0).permutation(len(train))
        constants, thresholds = {s.name: _Adam(s.out_features) for s in self.sites}, _Adam(len(self.sites))
        seen: list[float] = []
        for step in range(steps):
            self._gradients([train[order[(step * batch + i) % len(train)]] for i in range(batch)])
            rate = min((step + 1) / WARM_UP, 1) * 0.5 * (1 + np.cos(np.pi * step / steps))
            for name, adam in constants.items():
                self.constants[name] = self.constants[name] - RATE * rate * self._sizes[name] * adam.step(
                    self._slope[name] * self._sizes[name]
                )
            price = self._cost.sum() / self._denser.sum()  # of dropping more: what a site costs beyond it is to be moved elsewhere
            ahead = thresholds.step((self._cost - price * self._denser) / self.weights)
            for site, by in zip(self.sites, ahead, strict=True):
                self.moved[site.name] -= THRESHOLD_RATE * rate * float(by)
            self._density = float(self._denser.sum())
            seen.append(self._dropped)
            if step >= 4:  # a mean over few samples is not worth following
                self.shift(0.5 * (self.target - float(np.mean(seen[-8:]))) / max(self._density, 1e-3))
            if progress:
                progress(step + 1, steps)

    def _gradients(self, pieces: Sequence[CalibrationWindow]) -> None:
        """Per row: of the constants [N] of each site; of the sites' log thresholds [S], and what these drop of all weights; that itself."""
        rows = sum(int(piece.pruned.sum()) for piece in pieces)
        found = self.model.slopes(pieces, self._plan.entries | self.entries())
        self._slope = {name: np.sum([s.compensation for s in own], axis=0) / rows for name, own in found.items()}
        wide = self.weights / np.array([s.in_features for s in self.sites])
        self._cost, denser, unread = (
            np.array([sum(getattr(s, what) for s in found[site.name]) for site in self.sites]) / rows
            for what in ("cost", "denser", "unread")
        )
        self._denser, self._dropped = wide * denser, float(wide @ unread)


class _Adam:
    """Directions of about 1 in every entry."""

    def __init__(self, size: int) -> None:
        self._first, self._second, self._steps = np.zeros(size), np.zeros(size), 0

    def step(self, gradient: np.ndarray) -> np.ndarray:
        """What to subtract, in units of the rate."""
        self._steps += 1
        self._first += (1 - _BETAS[0]) * (gradient - self._first)
        self._second += (1 - _BETAS[1]) * (gradient**2 - self._second)
        mean, square = self._first / (1 - _BETAS[0] ** self._steps), self._second / (1 - _BETAS[1] ** self._steps)
        return np.asarray(mean / (np.sqrt(square) + 1e-12))
