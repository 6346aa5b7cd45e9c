"""Learn a constant that pruned rows add to the outputs of each site, so that the model stays close to the dense one; no labels.

The loss is KL(dense ‖ pruned) on calibration text, its gradient that of gradient_model, the steps are Adam's. Text is held out of the
steps, and the constants are kept only where they lower the loss on it: idea of SPON (arXiv 2512.12744). After: fitting.fit.
Cost: four forward passes over TOKENS_A_STEP tokens a step, and the held-out text twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.gradient_model import GradientModel
from scap_ov.calibration.samples import pick_pieces
from scap_ov.errors import BadDatasetError
from scap_ov.fitting.output_error import output_energy
from scap_ov.passes.openvino.runtime_inputs import COMPENSATION

if TYPE_CHECKING:
    import openvino as ov

    from scap_ov.calibration.probe_model import Settings
    from scap_ov.calibration.run_openvino import InferenceData
    from scap_ov.calibration.samples import Piece
    from scap_ov.plan import SparsityPlan
    from scap_ov.profile import CalibrationProfile

STEPS = 40
TOKENS_A_STEP = 512
HELD_OUT = 2048  # tokens
RATE = 0.004  # of the root mean square of a site's output, the first step; falls to zero along a cosine
_BETAS = (0.9, 0.98)
_ALL = 1 << 40  # tokens: every sample

Progress = Callable[[int, "int | None"], None]


def fit_compensation(
    model: ov.Model,
    dataset: InferenceData,
    profile: CalibrationProfile,
    plan: SparsityPlan,
    *,
    steps: int | None = None,
    progress: Progress | None = None,
) -> SparsityPlan:
    """The plan with a compensation for every entry, or as it was where that does not help on held-out text.

    1. Position 0 of a sequence, which is computed dense, neither gets the constant nor counts.
    2. `plan.notes["compensation"]` tells the loss on the held-out text before and after, and whether the constants were kept.

    :param profile: what the plan was fitted from; gives the size of the outputs.
    :param steps: of the descent; None for STEPS.
    :raises BadModelError: the model has no logits, or an operation without a gradient rule.
    :raises BadDatasetError: the data has fewer than four samples that start a sequence.
    """
    steps = STEPS if steps is None else steps
    probe = GradientModel(model, constants=True)
    pieces = pick_pieces(probe, dataset, _ALL)
    if len(pieces) < 4:
        msg = f"compensation is fitted on some samples and checked on others, and the calibration data has {len(pieces)}; give 4 or more"
        raise BadDatasetError(msg)
    size = float(np.mean([p.pruned.sum() for p in pieces]))
    count = int(np.clip(round(HELD_OUT / size), 1, len(pieces) // 2))
    held = {int(i) for i in (np.arange(count) + 0.5) * len(pieces) / count}
    check, train = [pieces[i] for i in sorted(held)], [p for i, p in enumerate(pieces) if i not in held]
    settings = probe.settings(plan.entries.values())
    before = _loss(probe, check, settings)
    learned = settings.copy()
    batch = max(round(TOKENS_A_STEP / size), 1)
    learned.compensation[:] = _descend(probe, train, settings, _sizes(probe, profile, plan), batch, steps, progress)
    after = _loss(probe, check, learned)
    told = {"held_out_loss_before": before, "held_out_loss_after": after, "kept": after < before, "steps": steps}
    notes = {**plan.notes, "compensation": told}
    if after >= before:
        return replace(plan, notes=notes)
    entries = {name: replace(e, compensation=probe.compensation(learned, name).copy()) for name, e in plan.entries.items()}
    return replace(plan, entries=entries, notes=notes)


def _descend(
    probe: GradientModel, train: Sequence[Piece], start: Settings, scale: np.ndarray, batch: int, steps: int, progress: Progress | None
) -> np.ndarray:
    """Adam from zero, every sample in turn."""
    settings = start.copy()
    first, second = np.zeros_like(scale), np.zeros_like(scale)
    for step in range(steps):
        total, rows = np.zeros_like(scale), 0
        for i in range(batch):
            piece = train[(step * batch + i) % len(train)]
            reference = probe.reference_of(piece.inputs)
            reference.values[~piece.pruned] = 0
            probe.run(piece.inputs, settings, reference)
            total += probe.gradient(COMPENSATION)
            rows += int(piece.pruned.sum())
        gradient = total / rows * scale  # of a step in units of the output's size
        first += (1 - _BETAS[0]) * (gradient - first)
        second += (1 - _BETAS[1]) * (gradient**2 - second)
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        ahead = first / (1 - _BETAS[0] ** (step + 1)) / (np.sqrt(second / (1 - _BETAS[1] ** (step + 1))) + 1e-12)
        settings.compensation -= (rate * ahead * scale).astype(np.float32)
        if progress:
            progress(step + 1, steps)
    return settings.compensation


def _sizes(probe: GradientModel, profile: CalibrationProfile, plan: SparsityPlan) -> np.ndarray:
    """Root mean square of the output of each pruned site, 0 for the others, float32 [ΣN]."""
    settings = probe.dense()
    for site in probe.sites:
        if site.name in plan.entries:
            probe.compensation(settings, site.name)[:] = np.sqrt(output_energy(profile.statistics[site.name]) / site.out_features)
    return settings.compensation


def _loss(probe: GradientModel, pieces: Sequence[Piece], settings: Settings) -> float:
    values = [probe.loss(p.inputs, settings, p.pruned, probe.reference_of(p.inputs)) for p in pieces]
    return float(np.average(values, weights=[p.pruned.sum() for p in pieces]))
