"""Measure how sensitive the model's output is to every site at once, by gradients.

For small changes d of a site's input, KL(dense ‖ changed) = ½ E[(g·d)²], where g is the gradient of the log-likelihood of tokens
that are sampled from the dense model itself (its Fisher information). One backward pass gives g at all sites, so the whole table, every
site at every level, costs about four forward passes over the tokens, where pruning site by site takes one for each site.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.gradient_model import GradientModel
from scap_ov.calibration.probe_model import Reference
from scap_ov.calibration.samples import pick_pieces
from scap_ov.config import SparsityConfig
from scap_ov.fitting.allocation.sensitivity import LEVELS
from scap_ov.fitting.criteria.adaptive import AdaptiveCriterion
from scap_ov.fitting.thresholds import pruned

if TYPE_CHECKING:
    import openvino as ov

    from scap_ov.fitting.criteria import SiteFit
    from scap_ov.models.runner import InferenceData
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import CalibrationProfile

AT = (0.1, 0.3, 0.5, 0.7, 0.9)  # levels that are measured; between them the logarithm of the loss is interpolated over that of the level
FIT_ROWS = 256  # of the reservoir: the fits at these levels of every site take about as long as a forward pass then

Progress = Callable[[int, "int | None"], None]
Table = dict[str, np.ndarray]


def fisher_tables(
    model: ov.Model,
    dataset: InferenceData,
    profile: CalibrationProfile,
    sites: list[Site],
    tokens: int,
    *,
    progress: Progress | None = None,
) -> tuple[dict[str, Table], int, int]:
    """The predicted divergence of the model when one site alone is pruned, at every level of LEVELS.

    :param sites: to measure.
    :return: tables by site name, tokens used, forward passes (a backward pass counts as two).
    :raises BadModelError: the model has no logits, or an operation without a gradient rule.
    """
    probe = GradientModel(model, inputs=True)
    pieces = pick_pieces(probe, dataset, tokens)
    criterion = AdaptiveCriterion(SparsityConfig())
    fits = {site.name: _fits(site, profile, criterion) for site in sites}
    sums = {site.name: np.zeros(len(AT)) for site in sites}
    for done, piece in enumerate(pieces):
        dense = probe.reference_of(piece.inputs)
        labels = _sample(dense.values, piece.digest)
        labels[~piece.pruned] = 0  # a row that is not pruned is not counted
        probe.run(piece.inputs, probe.dense(), Reference(labels, dense.offset))
        for site in sites:
            x, g = (v.reshape(-1, v.shape[-1]) for v in (probe.output(site.name), probe.gradient(site.name)))
            keep = piece.pruned if len(x) == len(piece.pruned) else np.ones(len(x), bool)
            x, g = x[keep], g[keep]
            changes = [np.einsum("rk,rk->r", g, x - pruned(x, fit.center, fit.threshold), dtype=np.float64) for fit in fits[site.name]]
            sums[site.name] += np.square(changes).sum(1)
        if progress:
            progress(done + 1, len(pieces))
    count = sum(int(p.pruned.sum()) for p in pieces)
    return {name: _table(0.5 * total / count) for name, total in sums.items()}, count, 4 * len(pieces)


def _table(loss: np.ndarray) -> Table:
    shape = np.exp(np.interp(np.log(LEVELS), np.log(AT), np.log(np.maximum(loss, 1e-12))))
    below = AT[0] > LEVELS  # the error of the smallest entries rises with the cube of their share
    shape[below] = shape[~below][0] * (LEVELS[below] / AT[0]) ** 3
    return {"level": np.array(AT), "loss": loss, "error": shape}


def _fits(site: Site, profile: CalibrationProfile, criterion: AdaptiveCriterion) -> list[SiteFit]:
    statistics = profile.statistics[site.name]
    rows = statistics.tensors["rows"][:FIT_ROWS].astype(np.float32)
    return [criterion.fit_site(site, rows, statistics, float(level)) for level in AT]


def _sample(probability: np.ndarray, seed: int) -> np.ndarray:
    """One token of each row, drawn by the row's probabilities, as one-hot rows float32 [R, V]; the same bits on every machine."""
    raw = np.random.PCG64(seed).random_raw(len(probability))
    uniform = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    total = np.cumsum(probability, axis=1, dtype=np.float64)
    index = (total < uniform[:, None] * total[:, -1:]).sum(1)
    hot = np.zeros_like(probability)
    hot[np.arange(len(hot)), np.minimum(index, probability.shape[1] - 1)] = 1
    return hot
