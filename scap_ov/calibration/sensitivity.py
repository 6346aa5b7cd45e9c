"""Measure how much the model's output changes when one site alone is pruned. After: observe. Before: fitting.allocation.sensitivity.

Two ways, chosen by what the model allows; both without torch, on the model that is deployed, int4 weights and all: by gradients, block
by block (site_gradients, fisher), which takes about as long as four forward passes over `tokens` tokens; or, where an operation has no
gradient rule or the model is no language model, by pruning site after site: one forward pass of the whole model per site and level.
Nothing is recompiled then, for thresholds are inputs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.block_model import BlockModel
from scap_ov.calibration.checkpoint import Checkpoint
from scap_ov.calibration.fisher import FisherTables
from scap_ov.calibration.gradient_model import GradientModel
from scap_ov.calibration.probe import Probe, Reference
from scap_ov.calibration.probes import probe_of
from scap_ov.calibration.samples import CalibrationWindow, pick_windows
from scap_ov.calibration.site_gradients import block_gradients, whole_gradients
from scap_ov.config import SparsityConfig
from scap_ov.errors import BadDatasetError, BadModelError, MismatchError, UncutError
from scap_ov.fitting.allocation.sensitivity import GRADED, LEVELS
from scap_ov.fitting.criteria.adaptive import AdaptiveCriterion
from scap_ov.fitting.criteria.graded import GradedCriterion, reads_by_half
from scap_ov.fitting.output_error import error_curve
from scap_ov.models.kinds import opened
from scap_ov.models.opened import OpenedModel
from scap_ov.plan import SitePlan
from scap_ov.progress import Progress

if TYPE_CHECKING:
    from scap_ov.models.kinds import AnyOpened, Model
    from scap_ov.models.runner import InferenceData
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import CalibrationProfile, SiteStatistics

TOKENS = 1024  # of each pass when sites are pruned one by one
GRADIENT_TOKENS = 2048
POINTS = (0.5,)  # one level: the local error gives the shape of the curve
SMALLEST = 1e-12  # loss of a site: rounding gives less, and below 0, where what is dropped is zeros that an activation has made

_log = logging.getLogger(__name__)


def measure_sensitivity(
    model: Model,
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
    :raises BadDatasetError: the data has no sequence of two tokens, or the model's output is not finite on it.
    """
    own = opened(model)
    if own.fingerprint != profile.fingerprint:
        msg = "the profile was observed on another model; calibrate the model that is to be pruned"
        raise MismatchError(msg)
    sites = [s for s in profile.sites if s.name not in profile.sensitivity]
    if not sites:
        return profile
    if gradients and isinstance(own, OpenedModel):
        try:
            return _told(_by_gradients(own, dataset, profile, sites, tokens or GRADIENT_TOKENS, checkpoint, progress))
        except BadModelError as e:
            _log.warning("measuring site by site, on the whole model: %s", e)
    return _told(_one_by_one(own, dataset, profile, sites, levels, tokens or TOKENS, checkpoint, progress))


def _told(profile: CalibrationProfile) -> CalibrationProfile:
    """The profile, unless its losses tell nothing.

    :raises BadDatasetError: a loss is NaN or infinite.
    """
    losses = {name: np.asarray(table["loss"]) for name, table in profile.sensitivity.items() if "loss" in table}
    odd = [name for name, loss in losses.items() if not np.isfinite(loss).all()]
    if odd:
        msg = (
            f"the loss cannot be told at {len(odd)} of {len(losses)} sites ({', '.join(odd[:3])}), because the model's output holds NaN or "
            "infinite values on the calibration data; check the samples and the model's weights"
        )
        raise BadDatasetError(msg)
    if losses and all((loss <= SMALLEST).all() for loss in losses.values()):
        _log.warning(
            "whatever is pruned, the model's output does not change on this data, so that losses tell nothing: the rows are all alike or "
            "too few, or the first output does not depend on them; give more text"
        )
    return profile


def _by_gradients(
    model: OpenedModel,
    dataset: InferenceData,
    profile: CalibrationProfile,
    sites: Sequence[Site],
    tokens: int,
    checkpoint: str | Path | None,
    progress: Progress | None,
) -> CalibrationProfile:
    """Block by block where the model can be cut, else in one piece.

    :raises BadModelError: the model has no logits, or an operation without a gradient rule.
    """
    tables = FisherTables(profile, sites)
    try:
        blocks = BlockModel(model, routing=True)
    except UncutError as e:
        whole = GradientModel(model, inputs=True)
        _log.warning("the model is differentiated in one piece, which takes many times its size of memory: %s", e)
        windows = pick_windows(whole, dataset, tokens)
        whole_gradients(whole, windows, sites, tables.take, progress)
    else:
        windows = pick_windows(blocks, dataset, tokens)
        store = Checkpoint(checkpoint, ["gradients", profile.fingerprint, [p.digest for p in windows], [s.name for s in sites]])

        def keep(left: int, gradients: Sequence[np.ndarray]) -> None:
            kept = {f"gradient/{i}": g for i, g in enumerate(gradients)}
            store.put({"left": np.array(left), **kept, **{f"sums/{name}": v for name, v in tables.sums().items()}})

        resumed = _resumed(store, tables, len(windows))
        block_gradients(blocks, windows, tables.take, resumed=resumed, keep=keep if checkpoint else None, progress=progress)
        store.remove()
    count = sum(int(p.pruned.sum()) for p in windows)
    found = {**profile.sensitivity, **tables.tables(count)}
    return profile.with_sensitivity(found, sensitivity_tokens=count, sensitivity_forwards=4 * len(windows))


def _resumed(store: Checkpoint, tables: FisherTables, windows: int) -> tuple[int, list[np.ndarray]] | None:
    """Where an interrupted run stopped, its sums put back."""
    if not store.arrays:
        return None
    tables.restore({name.removeprefix("sums/"): value for name, value in store.arrays.items() if name.startswith("sums/")})
    return int(store.arrays["left"]), [store.arrays[f"gradient/{i}"] for i in range(windows)]


def _one_by_one(
    model: AnyOpened,
    dataset: InferenceData,
    profile: CalibrationProfile,
    sites: Sequence[Site],
    levels: Sequence[float],
    tokens: int,
    checkpoint: str | Path | None,
    progress: Progress | None,
) -> CalibrationProfile:
    probe = probe_of(model)
    pieces = pick_windows(probe, dataset, tokens)
    store = Checkpoint(checkpoint, ["sites", profile.fingerprint, [float(v) for v in levels], [p.digest for p in pieces]])
    total = len(sites) * len(levels)
    references = [probe.reference_of(p.inputs) for p in pieces] if len(store.arrays) < total else []
    tables: dict[str, Mapping[str, np.ndarray]] = dict(profile.sensitivity)
    measured = _Measured(probe, pieces, references)
    for done, site in enumerate(sites):
        losses = []
        for number, level in enumerate(levels):
            key = f"{site.name}@{level}"
            if key not in store.arrays:
                store.put({**store.arrays, key: np.array(measured.loss(profile, site, level))})
            losses.append(float(store.arrays[key]))
            if progress:
                progress(done * len(levels) + number + 1, total)
        statistics = profile.statistics[site.name]
        error = error_curve(site, statistics, AdaptiveCriterion(SparsityConfig()), LEVELS)
        table = {"level": np.array(levels, np.float64), "loss": np.array(losses, np.float64), "error": error}
        tables[site.name] = table | _graded(site, statistics, table)
    store.remove()
    count = sum(int(p.pruned.sum()) for p in pieces)
    return profile.with_sensitivity(tables, sensitivity_tokens=count, sensitivity_forwards=probe.forwards)


def _graded(site: Site, statistics: SiteStatistics, table: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The table over bytes of a site that can be read by half: what dropping costs the output, by the ratio of the site's own errors."""
    if not reads_by_half(site, statistics):
        return {}
    error = error_curve(site, statistics, GradedCriterion(SparsityConfig()), LEVELS)
    there = [np.interp(table["level"], LEVELS, values) for values in (error, table["error"])]
    loss = table["loss"] * there[0] / np.maximum(there[1], 1e-30)
    return {GRADED + "level": table["level"], GRADED + "loss": loss, GRADED + "error": error}


@dataclass(frozen=True)
class _Measured:
    """The dense outputs on some windows, against which single sites are measured."""

    probe: Probe
    pieces: Sequence[CalibrationWindow]
    references: Sequence[Reference]

    def loss(self, profile: CalibrationProfile, site: Site, level: float) -> float:
        """Mean loss with this site pruned at this level."""
        statistics = profile.statistics[site.name]
        found = AdaptiveCriterion(SparsityConfig()).fit_site(site, statistics.rows, statistics, level)
        settings = self.probe.dense()
        self.probe.put(settings, SitePlan(site.name, found.threshold, found.center, level))
        values = [self.probe.loss(p.inputs, settings, p.pruned, r) for p, r in zip(self.pieces, self.references, strict=True)]
        return max(float(np.average(values, weights=[p.pruned.sum() for p in self.pieces])), SMALLEST)
