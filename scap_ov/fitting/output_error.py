"""Estimate how much pruning changes the output of a site, from the sketch of its weights: no model needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.fitting.thresholds import pruned

if TYPE_CHECKING:
    from scap_ov.fitting.criteria.base import Criterion
    from scap_ov.sites import Site
    from scap_ov.statistics.profile import SiteStatistics

CURVE_ROWS = 256  # a mean over 256 rows of a tensor's output error; to be judged against the 64 rows of the sketch


def output_error(difference: np.ndarray, sketch: np.ndarray) -> float:
    """Mean of |W d|² over rows d.

    :param difference: x − x̂, float32 [R, K].
    :param sketch: random projection of W, float32 [P, K].
    """
    return float(np.square(difference @ sketch.T, dtype=np.float64).sum(1).mean())


def output_energy(statistics: SiteStatistics) -> float:
    """Mean of |W x|² over the first rows of the reservoir."""
    return output_error(statistics.tensors["rows"][:CURVE_ROWS].astype(np.float32), statistics.sketch)


def error_curve(site: Site, statistics: SiteStatistics, criterion: Criterion, levels: np.ndarray) -> np.ndarray:
    """Mean |W (x − x̂)|² at each sparsity of a grid, made monotone; what half-reads miss is as good as random, so its squares add up.

    :param criterion: what is dropped and by what it is replaced.
    :param levels: sparsities, ascending, [L].
    :return: float64 [L].
    """
    rows = statistics.tensors["rows"][:CURVE_ROWS].astype(np.float32)
    errors = []
    for level in levels:
        fit = criterion.fit_site(site, rows, statistics, float(level))
        error = output_error(rows - pruned(rows, fit.center, fit.threshold), statistics.sketch)
        if fit.whole_threshold is not None:
            distance = np.abs(rows - fit.center)
            half = np.where((distance > fit.threshold) & (distance <= fit.whole_threshold), distance, 0)
            error += float(np.square(half * statistics.tensors["missed_norm"], dtype=np.float64).sum(1).mean())
        errors.append(error)
    return np.maximum.accumulate(np.asarray(errors))
