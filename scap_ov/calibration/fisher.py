"""Tables of how sensitive the model's output is to every site at every level, from gradients.

For small changes d of a site's input, KL(dense ‖ changed) = ½ E[(g·d)²], where g is the gradient of the log-likelihood of tokens
that are sampled from the dense model itself (its Fisher information). One backward pass gives g at all sites, where pruning site by site
takes a forward pass for each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.routing_losses import RoutingLosses
from scap_ov.config import SparsityConfig
from scap_ov.fitting.allocation.sensitivity import GRADED, LEVELS
from scap_ov.fitting.criteria.adaptive import AdaptiveCriterion
from scap_ov.fitting.criteria.graded import GradedCriterion, plane_error, reads_by_half
from scap_ov.fitting.fewer_experts import FEWER
from scap_ov.fitting.mean_shift import Sample
from scap_ov.statistics.collector import routing_name

if TYPE_CHECKING:
    from scap_ov.fitting.criteria import SiteFit
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import CalibrationProfile

GRADED_AT = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9)  # shares of bytes; the loss spans five decades there
AT = (0.1, 0.3, 0.5, 0.7, 0.9)  # levels that are measured; between them the logarithm of the loss is interpolated over that of the level
FIT_ROWS = 256  # of the reservoir: the fits at these levels of every site take about as long as a forward pass then

_ROWS = 16  # with 5,000 channels their five arrays are 1 MB

Table = dict[str, np.ndarray]


class FisherTables:
    """Adds up what gradients tell about each site.

    :param profile: gives the statistics that thresholds and centres are fitted to.
    :param sites: to make tables of.
    """

    def __init__(self, profile: CalibrationProfile, sites: Sequence[Site]) -> None:
        self._profile, self._sites = profile, {site.name: site for site in sites}
        self._routers = {routing_name(site.name): site for site in sites if site.experts_per_token > 1}
        self._measured: dict[str, _Measured | RoutingLosses] = {}

    def take(self, name: str, x: np.ndarray, g: np.ndarray) -> None:
        """Take in some rows of a site.

        :param name: of a site, or `routing_name` of one.
        :param x: the site's input, float32 [R, K], or routing weights.
        :param g: the gradient there, float32 [R, K].
        """
        if name in self._sites or name in self._routers:
            self._of(name).add(x, g)

    def sums(self) -> dict[str, np.ndarray]:
        """What was added up so far, by site; for a checkpoint."""
        return {name: own.sums for name, own in self._measured.items()}

    def restore(self, sums: Mapping[str, np.ndarray]) -> None:
        """Go on from a checkpoint."""
        for name, value in sums.items():
            self._of(name).sums[:] = value

    def tables(self, count: int) -> dict[str, Table]:
        """The tables, by site.

        :param count: rows that were taken in at each site.
        """
        made: dict[str, Table] = {}
        for name in self._sites:
            own, routing = self._of(name), self._measured.get(routing_name(name))
            made[name] = own.table(count) if isinstance(own, _Measured) else {}
            if isinstance(routing, RoutingLosses):
                made[name][FEWER] = routing.losses(count)
        return made

    def _of(self, name: str) -> _Measured | RoutingLosses:
        if name not in self._measured:
            router = self._routers.get(name)
            fresh = _Measured(self._sites[name], self._profile) if router is None else RoutingLosses(router.experts_per_token)
            self._measured[name] = fresh
        return self._measured[name]


class _Measured:
    """What one site has cost so far at every level, by dropping alone and, where its weights are of 8 bits, by reading by half too."""

    def __init__(self, site: Site, profile: CalibrationProfile) -> None:
        statistics = profile.statistics[site.name]
        rows = statistics.tensors["rows"][:FIT_ROWS].astype(np.float32)
        self.name = site.name
        self._by_half = reads_by_half(site, statistics)
        self._error = plane_error(statistics) if self._by_half else 0.0
        sample = Sample(rows).prepare()
        adaptive, graded = AdaptiveCriterion(SparsityConfig()), GradedCriterion(SparsityConfig())
        wanted = [partial(adaptive.fit_sample, sample, level) for level in AT]
        if self._by_half:
            wanted += [partial(graded.fit_sample, sample, self._error, level) for level in GRADED_AT]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._fits = list(pool.map(lambda fit: fit(), wanted))
        self.sums = np.zeros(len(self._fits))

    def add(self, x: np.ndarray, g: np.ndarray) -> None:
        """Some rows of the site's input and of the gradient there, float32 [R, K].

        What the high plane misses is as good as random, so that its squares add up; errors of dropped entries add up as they are.
        """
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self.sums += list(pool.map(lambda fit: self._cost(fit, x, g), self._fits))

    def _cost(self, fit: SiteFit, x: np.ndarray, g: np.ndarray) -> float:
        """What these rows cost at one level, a few rows at a time, which stay in the cache."""
        total = 0.0
        change, distance, part = np.empty((3, _ROWS, x.shape[1]), np.float32)
        dropped, below = np.empty((2, _ROWS, x.shape[1]), bool)
        for start in range(0, len(x), _ROWS):
            rows = x[start : start + _ROWS]
            if len(rows) < _ROWS:
                change, distance, part, dropped, below = (made[: len(rows)] for made in (change, distance, part, dropped, below))
            np.subtract(rows, fit.center, out=change)
            np.abs(change, out=distance)
            product = np.multiply(change, g[start : start + _ROWS], out=change)
            np.less_equal(distance, fit.threshold, out=dropped)
            total += float(np.square(np.multiply(product, dropped, out=part).sum(1), dtype=np.float64).sum())
            if fit.whole_threshold is not None:
                half = np.greater(np.less_equal(distance, fit.whole_threshold, out=below), dropped, out=below)
                np.multiply(product, half, out=part)
                total += self._error * float(np.einsum("rk,rk->r", part, part).sum(dtype=np.float64))
        return total

    def table(self, count: int) -> Table:
        """Mean loss over `count` rows."""
        losses = 0.5 * self.sums / count
        table = _table(losses[: len(AT)], AT)
        if self._by_half:
            table |= {GRADED + key: value for key, value in _table(losses[len(AT) :], GRADED_AT).items()}
        return table


def _table(loss: np.ndarray, at: Sequence[float]) -> Table:
    shape = np.exp(np.interp(np.log(LEVELS), np.log(at), np.log(np.maximum(loss, 1e-12))))
    below = at[0] > LEVELS  # the error of the smallest entries rises with the cube of their share
    shape[below] = shape[~below][0] * (LEVELS[below] / at[0]) ** 3
    return {"level": np.array(at), "loss": loss, "error": shape}
