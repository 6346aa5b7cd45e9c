"""Decide by measurement how many rows of a step a site prunes.

Several rows together keep more channels than one, and dense products of several rows cost little more than of one: from some number of
rows on computing them dense is faster. Where that is depends on the shape, the form of the weights, the sparsity and the machine. Copies
of one site run with their rows pruned and with their rows dense in turn. Routed experts keep the number of the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median

import numpy as np

from scap_ov.benchmarking.measured import Measurements, number_of
from scap_ov.benchmarking.site_gain import level_of, measurable, of_one_shape, ratio_of_times, shape_key
from scap_ov.benchmarking.site_models import copies_of, repeated, sparse_model, stock_model
from scap_ov.config import SparsityConfig
from scap_ov.plan import SparsityPlan
from scap_ov.progress import TitledProgress
from scap_ov.sites import Site

_LEAST_GAIN = 1.0
_SECONDS = 0.25  # of timing for each number of rows
_TRIED = (48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
_LEAST_BYTES = 128 << 10  # of a site's weights; smaller ones take no time worth choosing by

RowGain = Callable[[Site, int, float, SparsityConfig], float]


def rows_that_pay(
    plan: SparsityPlan,
    stock: Mapping[str, str],
    *,
    measured: Measurements | None = None,
    progress: TitledProgress | None = None,
    gain: RowGain | None = None,
) -> dict[str, int]:
    """Most rows of a step that each site prunes: as many as the configuration allows, fewer where dense is faster here.

    Sites of one shape are measured once, at the median of their sparsities; sites below 128 KB are not.

    :param stock: sites that stay stock; they are left out.
    :param measured: what is known of this machine, and takes in what is measured; nothing is kept without it.
    :param gain: measures how many times faster pruned rows are than dense ones, for tests; by default `measure_row_gain`.
    :return: site name -> rows, 1 to `max_sparse_rows`; nothing where every row is pruned, or one only.
    """
    config = plan.config
    if config.rows == "all" or config.max_sparse_rows == 1:
        return {}
    entries = {name for name, entry in plan.entries.items() if not entry.drops_nothing}
    pruned = (site for site in plan.sites if site.name in entries and site.name not in stock)
    groups = of_one_shape(site for site in pruned if not site.experts and site.weight_bytes >= _LEAST_BYTES)
    chosen: dict[str, int] = {}
    for done, sites in enumerate(groups):
        if progress:
            progress(done, len(groups), "measuring how many rows are worth pruning")
        level = level_of(median(plan.entries[site.name].expected_sparsity for site in sites))
        rows = _most_rows(config.max_sparse_rows, _gain_of(gain or measure_row_gain, sites[0], level, config, measured))
        chosen.update(dict.fromkeys((site.name for site in sites), rows))
    return chosen


def _gain_of(gain: RowGain, site: Site, level: float, config: SparsityConfig, measured: Measurements | None) -> Callable[[int], float]:
    def of(rows: int) -> float:
        key = {"gain at": level, "of rows": rows, **shape_key(site, config)}
        return number_of(measured, key, lambda: gain(site, rows, level, config))

    return of


def _most_rows(limit: int, gain: Callable[[int], float]) -> int:
    """The most rows at which pruning is faster: from `limit` down to the first number tried that wins, then by bisection above it.

    Not by bisection alone: dense rows go another way from some number on, so pruning may lose at three and win at four or eight. The
    numbers tried below a limit are those below a larger one too, so that a larger limit never gives fewer rows. One row is always pruned.
    """
    loses = limit + 1
    for rows in (limit, *(rows for rows in _TRIED if rows < limit)):
        if rows == 1 or gain(rows) >= _LEAST_GAIN:
            break
        loses = rows
    while loses - rows > 1:
        middle = (rows + loses) // 2
        rows, loses = (middle, loses) if gain(middle) >= _LEAST_GAIN else (rows, middle)
    return rows


def measure_row_gain(site: Site, rows: int, sparsity: float, config: SparsityConfig) -> float:
    """How many times faster the op is with its rows pruned than with the same rows dense: median of paired ratios.

    :param rows: of a step, at least 2.
    :param sparsity: share of the weight bytes that one row does not read.
    """
    site = measurable(site)
    one = stock_model(site, 1)
    graded = config.method == "graded" and site.two_planes
    copies = copies_of(site)
    dense, pruned = (
        repeated(sparse_model(one, sparsity, replace(config, max_sparse_rows=most), graded=graded), copies) for most in (1, rows)
    )
    x = np.random.default_rng(0).standard_normal((rows, 1, site.in_features), np.float32)
    return ratio_of_times(dense, pruned, config, [{0: x}], _SECONDS)
