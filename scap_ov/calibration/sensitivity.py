"""Measure how much the model's output changes when one site alone is pruned. After: observe. Before: fitting.allocation.sensitivity.

Two ways, chosen by what the model allows; both without torch, on the model that is deployed, int4 weights and all:
by gradients (fisher), about four forward passes over `tokens` tokens in all; or, where an operation has no gradient rule or the model is
no language model, by pruning site after site: one forward pass per site and level. Nothing is recompiled: thresholds are inputs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov

from scap_ov.calibration.checkpoint import Checkpoint
from scap_ov.calibration.fisher import fisher_tables
from scap_ov.calibration.kinds import fingerprint_of, probe_of
from scap_ov.calibration.probe_model import ProbeModel, Reference
from scap_ov.calibration.samples import Piece, pick_pieces
from scap_ov.config import SparsityConfig
from scap_ov.errors import BadModelError, MismatchError
from scap_ov.fitting.allocation.sensitivity import LEVELS
from scap_ov.fitting.criteria.adaptive import AdaptiveCriterion
from scap_ov.fitting.output_error import error_curve
from scap_ov.plan import SitePlan

if TYPE_CHECKING:
    from scap_ov.models.runner import InferenceData
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import CalibrationProfile

TOKENS = 1024  # of each pass when sites are pruned one by one
GRADIENT_TOKENS = 2048
POINTS = (0.5,)  # one level: the local error gives the shape of the curve
SMALLEST = 1e-12  # loss of a site: rounding gives less, and below 0, where what is dropped is zeros that an activation has made

Progress = Callable[[int, "int | None"], None]
_log = logging.getLogger(__name__)


def measure_sensitivity(
    model: Any,
    dataset: InferenceData,
    profile: CalibrationProfile,
    *,
    levels: Sequence[float] = POINTS,
    tokens: int | None = None,
    gradients: bool = True,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> CalibrationProfile:
    """The profile with a table for every site: KL divergence from the dense model at each level, that site alone pruned.

    1. A site that the profile holds a table for is not measured again.
    2. With `checkpoint`, what is measured is kept in that file; an interrupted run goes on from it, a complete one removes it.
    3. The tables hold the site's own error curve as well, so that allocation depends on them alone.

    :param model: the stock model that was observed.
    :param dataset: calibration data; windows spread over it are used.
    :param levels: sparsities at which single sites are pruned, when there are no gradients.
    :param tokens: how many tokens to measure on; None for TOKENS, or GRADIENT_TOKENS.
    :param gradients: use them where the model allows it.
    :param progress: called with (measurements done, measurements).
    :raises MismatchError: the profile is of another model.
    :raises BadDatasetError: the data has no sequence of two tokens.
    """
    if fingerprint_of(model) != profile.fingerprint:
        msg = "the profile was observed on another model; calibrate the model that is to be pruned"
        raise MismatchError(msg)
    sites = [s for s in profile.sites if s.name not in profile.sensitivity]
    if gradients and sites and isinstance(model, ov.Model):
        try:
            found, count, passes = fisher_tables(model, dataset, profile, sites, tokens or GRADIENT_TOKENS, progress=progress)
        except BadModelError as e:
            _log.info("measuring site by site: %s", e)
        else:
            return profile.with_sensitivity({**profile.sensitivity, **found}, sensitivity_tokens=count, sensitivity_forwards=passes)
    return _one_by_one(model, dataset, profile, sites, levels, tokens or TOKENS, checkpoint, progress)


def _one_by_one(
    model: Any,
    dataset: InferenceData,
    profile: CalibrationProfile,
    sites: Sequence[Site],
    levels: Sequence[float],
    tokens: int,
    checkpoint: str | Path | None,
    progress: Progress | None,
) -> CalibrationProfile:
    probe = probe_of(model)
    pieces = pick_pieces(probe, dataset, tokens)
    store = Checkpoint(checkpoint, [profile.fingerprint, [float(v) for v in levels], [p.digest for p in pieces]])
    total = len(sites) * len(levels)
    references = [probe.reference_of(p.inputs) for p in pieces] if len(store.losses) < total else []
    tables: dict[str, Mapping[str, np.ndarray]] = dict(profile.sensitivity)
    measured = _Measured(probe, pieces, references)
    for done, site in enumerate(sites):
        losses = []
        for number, level in enumerate(levels):
            key = f"{site.name}@{level}"
            if key not in store.losses:
                store.put(key, measured.loss(profile, site, level))
            losses.append(store.losses[key])
            if progress:
                progress(done * len(levels) + number + 1, total)
        error = error_curve(site, profile.statistics[site.name], AdaptiveCriterion(SparsityConfig()), LEVELS)
        tables[site.name] = {"level": np.array(levels, np.float64), "loss": np.array(losses, np.float64), "error": error}
    store.remove()
    count = sum(int(p.pruned.sum()) for p in pieces)
    return profile.with_sensitivity(tables, sensitivity_tokens=count, sensitivity_forwards=probe.forwards)


@dataclass(frozen=True)
class _Measured:
    """The dense outputs on some windows, against which single sites are measured."""

    probe: ProbeModel
    pieces: Sequence[Piece]
    references: Sequence[Reference]

    def loss(self, profile: CalibrationProfile, site: Site, level: float) -> float:
        """Mean loss with this site pruned at this level."""
        statistics = profile.statistics[site.name]
        found = AdaptiveCriterion(SparsityConfig()).fit_site(site, statistics.rows, statistics, level)
        settings = self.probe.dense()
        self.probe.put(settings, SitePlan(site.name, found.threshold, found.center, level))
        values = [self.probe.loss(p.inputs, settings, p.pruned, r) for p, r in zip(self.pieces, self.references, strict=True)]
        return max(float(np.average(values, weights=[p.pruned.sum() for p in self.pieces])), SMALLEST)
