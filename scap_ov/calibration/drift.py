"""Measure how thresholds must follow what pruning does to later layers, so that `fit` alone hits the sparsity that is asked for.

A threshold that is a quantile of dense activations drops too much behind pruned layers, because their outputs are smaller: 50 % asked gave
52 %, 60 % gave 65 %. How much depends on how much harm has been done before. So a few reference plans are run over a little data, and
every site notes the ratio of the quantile that it sees then to the dense one, beside the plan's predicted loss. `fit` interpolates
(fitting.drift).
After: sensitivity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.probes import inputs_model
from scap_ov.calibration.samples import counted, pick_windows
from scap_ov.config import SparsityConfig
from scap_ov.fitting.allocation.sensitivity import predicted_loss
from scap_ov.fitting.drift import DRIFT, LOSS, drift_ratios, knows_drift
from scap_ov.fitting.fit import allocated_shares, criterion_for, fit
from scap_ov.models.kinds import opened
from scap_ov.progress import Progress
from scap_ov.sites import SiteKind
from scap_ov.statistics.observers.histogram import HistogramObserver, magnitude_quantile

if TYPE_CHECKING:
    from scap_ov.calibration.observe import Keep
    from scap_ov.calibration.samples import CalibrationWindow
    from scap_ov.models.kinds import Model
    from scap_ov.models.runner import InferenceData
    from scap_ov.plan import SitePlan
    from scap_ov.statistics.profile import CalibrationProfile

REFERENCES = (0.3, 0.5, 0.65)  # sparsities of the plans that are run; each starts from what the one before has shown
TOKENS = 1024


def measure_drift(
    model: Model, dataset: InferenceData, profile: CalibrationProfile, *, tokens: int = TOKENS, keep: Keep | None = None,
    progress: Progress | None = None,
) -> CalibrationProfile:  # fmt: skip
    """The profile with the ratios of pruned to dense thresholds in its sensitivity tables.

    Cost: a forward pass over `tokens` tokens for each of REFERENCES.

    :param profile: with the sensitivity of every block site; what it holds of the first REFERENCES is not measured again.
    :param keep: called with the profile after each of REFERENCES.
    :param progress: called with (samples done, samples).
    """
    probe = inputs_model(opened(model), [site.name for site in profile.sites if site.kind is not SiteKind.LM_HEAD])
    pieces = pick_windows(probe, dataset, tokens)
    there = max((len(table.get(LOSS, ())) for table in profile.sensitivity.values()), default=0)
    for turn, target in enumerate(REFERENCES):
        if turn < there:
            continue
        config = SparsityConfig(target_sparsity=target, method="adaptive", drift_correction=False, lm_head=False)
        criterion = criterion_for(config)
        shares = {name: share for name, share in allocated_shares(profile, config, criterion).items() if share > 0}
        ratios = drift_ratios(profile, shares, criterion) if knows_drift(profile, list(shares)) else dict.fromkeys(shares, 1.0)
        dense = fit(profile, config).entries
        entries = {name: replace(entry, threshold=entry.threshold * np.float32(ratios[name])) for name, entry in dense.items()}
        counts = _Counts(pieces, dense)
        probe.inputs_of(pieces, entries, counts.take, _of_turn(progress, turn))
        profile = _noted(profile, predicted_loss(profile, shares, criterion), counts.ratios())
        if keep:
            keep(profile)
    return profile


def _of_turn(progress: Progress | None, turn: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total: progress(turn * (total or done) + done, len(REFERENCES) * (total or done))


class _Counts:
    """How far from its centre the input of each site is, behind pruned sites."""

    def __init__(self, pieces: Sequence[CalibrationWindow], dense: Mapping[str, SitePlan]) -> None:
        self._pieces, self._dense = pieces, dense
        self._counts = {name: HistogramObserver() for name in dense}

    def take(self, index: int, values: Mapping[str, np.ndarray]) -> None:
        """Take in the inputs of some sites in one window."""
        keep = self._pieces[index].pruned
        for name, value in values.items():
            if name in self._counts:
                rows = value.reshape(-1, value.shape[-1])
                self._counts[name].update(np.abs(rows[counted(keep, value.shape[:-1])] - self._dense[name].center))

    def ratios(self) -> dict[str, float]:
        """By site, the threshold that is needed as a multiple of the dense one."""
        return {name: _quantile(count, self._dense[name]) for name, count in self._counts.items()}


def _quantile(counts: HistogramObserver, entry: SitePlan) -> float:
    """The threshold that would drop as much behind pruned sites as the entry's drops in the dense model, as a multiple of it."""
    found = magnitude_quantile(counts.result()["histogram"], entry.expected_sparsity)
    return found / max(float(entry.threshold.reshape(-1)[0]), 1e-12)


def _noted(profile: CalibrationProfile, loss: float, ratios: Mapping[str, float]) -> CalibrationProfile:
    """Every site's ratio at this loss, behind those that are there."""
    tables = {name: dict(table) for name, table in profile.sensitivity.items()}
    for name, table in tables.items():
        known = table.get(DRIFT, np.zeros(0))
        ratio = ratios.get(name, float(known[-1]) if len(known) else 1.0)
        table[LOSS] = np.append(table.get(LOSS, np.zeros(0)), loss)
        table[DRIFT] = np.append(known, ratio)
    return profile.with_sensitivity(tables)
