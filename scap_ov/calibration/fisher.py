"""Measure how sensitive the model's output is to every site at once, by gradients.

For small changes d of a site's input, KL(dense ‖ changed) = ½ E[(g·d)²], where g is the gradient of the log-likelihood of tokens
that are sampled from the dense model itself (its Fisher information). One backward pass gives g at all sites, so the whole table, every
site at every level, costs about four forward passes over the tokens, where pruning site by site takes one for each site.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.gradient_model import GradientModel
from scap_ov.calibration.probe_model import Reference
from scap_ov.calibration.samples import counted, pick_pieces
from scap_ov.config import SparsityConfig
from scap_ov.fitting.allocation.sensitivity import GRADED, LEVELS
from scap_ov.fitting.criteria.adaptive import AdaptiveCriterion
from scap_ov.fitting.criteria.graded import GradedCriterion, plane_error, reads_by_half

if TYPE_CHECKING:
    import openvino as ov

    from scap_ov.models.runner import InferenceData
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import CalibrationProfile

GRADED_AT = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9)  # shares of bytes; the loss spans five decades there
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
    measured = [_Measured(site, profile) for site in sites]
    for done, piece in enumerate(pieces):
        dense = probe.reference_of(piece.inputs)
        labels = _sample(dense.values, piece.digest)
        labels[~counted(piece.pruned, len(labels))] = 0  # a row that is not pruned is not counted
        probe.run(piece.inputs, probe.dense(), Reference(labels, dense.offset))
        for own in measured:
            x, g = (v.reshape(-1, v.shape[-1]) for v in (probe.output(own.name), probe.gradient(own.name)))
            keep = counted(piece.pruned, len(x))
            own.add(x[keep], g[keep])
        if progress:
            progress(done + 1, len(pieces))
    count = sum(int(p.pruned.sum()) for p in pieces)
    return {own.name: own.table(count) for own in measured}, count, 4 * len(pieces)


class _Measured:
    """What one site has cost so far at every level, by dropping alone and, where its weights are of 8 bits, by reading by half too."""

    def __init__(self, site: Site, profile: CalibrationProfile) -> None:
        statistics = profile.statistics[site.name]
        rows = statistics.tensors["rows"][:FIT_ROWS].astype(np.float32)
        self.name = site.name
        self._by_half = reads_by_half(site, statistics)
        self._error = plane_error(statistics) if self._by_half else 0.0
        adaptive, graded = AdaptiveCriterion(SparsityConfig()), GradedCriterion(SparsityConfig())
        self._fits = [adaptive.fit_site(site, rows, statistics, level) for level in AT]
        if self._by_half:
            self._fits += [graded.fit_site(site, rows, statistics, level) for level in GRADED_AT]
        self._sums = np.zeros(len(self._fits))

    def add(self, x: np.ndarray, g: np.ndarray) -> None:
        """Some rows of the site's input and of the gradient there, float32 [R, K].

        What the high plane misses is as good as random, so that its squares add up; errors of dropped entries add up as they are.
        """
        for number, fit in enumerate(self._fits):
            change = x - fit.center
            distance = np.abs(change)
            product = g * change
            self._sums[number] += np.square(np.where(distance <= fit.threshold, product, 0).sum(1, dtype=np.float64)).sum()
            if fit.whole_threshold is not None:
                half = (distance > fit.threshold) & (distance <= fit.whole_threshold)
                self._sums[number] += self._error * np.square(np.where(half, product, 0), dtype=np.float64).sum()

    def table(self, count: int) -> Table:
        """Mean loss over `count` rows."""
        losses = 0.5 * self._sums / count
        table = _table(losses[: len(AT)], AT)
        if self._by_half:
            table |= {GRADED + key: value for key, value in _table(losses[len(AT) :], GRADED_AT).items()}
        return table


def _table(loss: np.ndarray, at: Sequence[float]) -> Table:
    shape = np.exp(np.interp(np.log(LEVELS), np.log(at), np.log(np.maximum(loss, 1e-12))))
    below = at[0] > LEVELS  # the error of the smallest entries rises with the cube of their share
    shape[below] = shape[~below][0] * (LEVELS[below] / at[0]) ** 3
    return {"level": np.array(at), "loss": loss, "error": shape}


def _sample(probability: np.ndarray, seed: int) -> np.ndarray:
    """One token of each row, drawn by the row's probabilities, as one-hot rows float32 [R, V]; the same bits on every machine."""
    raw = np.random.PCG64(seed).random_raw(len(probability))
    uniform = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    total = np.cumsum(probability, axis=1, dtype=np.float64)
    index = (total < uniform[:, None] * total[:, -1:]).sum(1)
    hot = np.zeros_like(probability)
    hot[np.arange(len(hot)), np.minimum(index, probability.shape[1] - 1)] = 1
    return hot
