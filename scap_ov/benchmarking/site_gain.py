"""Decide by measurement which sites the custom op makes faster on this machine. Used by: api.apply for replace="where_faster".

Two small models stand side by side: copies of one site as stock layers, and the same copies behind SparseMatMul, enough of
them to come from memory and not from a cache, one row of input at the planned sparsity. For each shape and weight
form the sparsity (to 5 %) from which on the op wins is found by bisection.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.benchmarking.paired import median_ratio
from scap_ov.benchmarking.synthetic import random_weight
from scap_ov.config import SparsityConfig
from scap_ov.evaluation.bytes_read import layer_bytes
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import Site

_SECONDS = 0.5  # of timing per shape, behind building and compiling
_LEAST_GAIN = 1.0
_MOST_COPIES = 96
_STEP = 0.05

Shape = tuple[object, ...]


def sites_that_lose(
    plan: SparsityPlan, *, progress: Callable[..., None] | None = None, gain: Callable[[Site, float, SparsityConfig], float] | None = None
) -> dict[str, str]:
    """Sites of a plan at which the op would be slower than the stock layers here.

    :param gain: measures how many times faster the op is, for tests; `measure_gain` by default.
    :return: site name -> the reason, with figures.
    """
    gain = measure_gain if gain is None else gain
    groups: dict[Shape, list[Site]] = {}
    for site in plan.sites:
        if site.name in plan.entries:
            groups.setdefault(_shape(site), []).append(site)
    reasons: dict[str, str] = {}
    for done, sites in enumerate(groups.values()):
        if progress:
            progress(done, len(groups), "measuring the gain per shape")
        levels = {site.name: _level(plan.entries[site.name].expected_sparsity) for site in sites}
        losing = _losing(sorted(set(levels.values())), _gain_of(gain, sites[0], plan.config))
        if losing is None:
            continue
        level, factor = losing
        first = sites[0]
        reason = (
            f"the op would be slower here: {factor:.2f}x at {level:.0%} for {first.in_features} -> "
            f"{'+'.join(str(layer.out_features) for layer in first.layers)} {first.layers[0].weight.dtype}"
        )
        reasons.update({site.name: reason for site in sites if levels[site.name] <= level})
    return reasons


def _gain_of(gain: Callable[[Site, float, SparsityConfig], float], site: Site, config: SparsityConfig) -> Callable[[float], float]:
    return lambda level: gain(site, level, config)


def _losing(levels: Sequence[float], gain: Callable[[float], float]) -> tuple[float, float] | None:
    """The largest level at which the op is slower, and how fast it is there; None where it is slower at none.

    The gain rises with the sparsity, so the level is found by bisection: one measurement where the op always wins.

    :param levels: ascending.
    """
    below, above, found = -1, len(levels), None  # levels[..below] lose, levels[above..] win
    probe = 0
    while above - below > 1:
        factor = gain(levels[probe])
        if factor < _LEAST_GAIN:
            below, found = probe, (levels[probe], factor)
        else:
            above = probe
        probe = (below + above) // 2
    return found


def measure_gain(site: Site, sparsity: float, config: SparsityConfig) -> float:
    """How many times faster the op decodes one row than the stock layers: median of paired ratios.

    :param sparsity: share of entries that are dropped.
    """
    copies = _copies(site)
    stock = _stock_model(site, copies)
    sparse = _sparse_model(stock, sparsity, config)
    core = ov.Core()
    _register(core)
    quantise = {} if config.dynamic_quantization else {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    requests = []
    for model in (stock, sparse):
        request = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **quantise}).create_infer_request()
        request.set_input_tensor(ov.Tensor(np.random.default_rng(0).standard_normal((1, 1, site.in_features), np.float32)))
        for _ in range(2):
            request.infer()
        requests.append(request)
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end or len(times[0]) < 5:
        for own, request in zip(times, requests, strict=True):
            start = time.perf_counter()
            request.infer()
            own.append(time.perf_counter() - start)
    return median_ratio(*times)


def _shape(site: Site) -> Shape:
    return (site.in_features, tuple((layer.out_features, layer.weight) for layer in site.layers))


def _level(sparsity: float) -> float:
    return min(round(round(sparsity / _STEP) * _STEP, 2), 0.95)


def _copies(site: Site) -> int:
    """Enough copies for twice the last-level cache, within bounds that keep building them below a second."""
    size = sum(sum(layer_bytes(layer)) for layer in site.layers)
    return max(2, min(_MOST_COPIES, math.ceil(2 * _last_level_cache() / size)))


def _last_level_cache() -> int:
    """Bytes; 32 MB where the system does not tell."""
    for index in (3, 2):
        path = Path(f"/sys/devices/system/cpu/cpu0/cache/index{index}/size")
        if path.is_file():
            text = path.read_text().strip()
            unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1], 1)
            return min(int(text.rstrip("KMG")) * unit, 64 << 20)
    return 32 << 20


def _stock_model(site: Site, copies: int) -> ov.Model:
    rng = np.random.default_rng(0)
    # rows are dynamic as in exported models: the CPU plugin infers the shapes of an extension op anew at every call then, which costs time
    x = ops.parameter([-1, 1, site.in_features], np.float32, name="x")
    current: ov.Node = x
    for copy in range(copies):
        outputs = []
        for number, layer in enumerate(site.layers):
            weight = random_weight(layer.out_features, layer.in_features, layer.weight, rng)
            y = ops.matmul(current, weight, False, True)
            y.set_friendly_name(f"gain.copy{copy}.layer{number}")
            outputs.append(ops.reduce_mean(y, ops.constant(np.array([-1])), keep_dims=True))
        # the next copy waits for this one, as blocks do; the sum of means is tiny and changes nothing that is measured
        total = outputs[0]
        for one in outputs[1:]:
            total = ops.add(total, one)
        current = ops.add(x, ops.multiply(total, ops.constant(np.float32(1e-6))))
    return ov.Model([current], [x], "gain")


def _sparse_model(stock: ov.Model, sparsity: float, config: SparsityConfig) -> ov.Model:
    from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
    from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
    from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul

    sites = tuple(match.site for match in find_sites(stock, lm_head=True).matches)
    values = np.abs(np.random.default_rng(0).standard_normal(sites[0].in_features).astype(np.float32))
    threshold = np.array([np.quantile(values, sparsity) if sparsity else -1.0], np.float32)
    zero = np.zeros(1, np.float32)
    entries = {site.name: SitePlan(site.name, threshold, zero, sparsity) for site in sites}
    plan = SparsityPlan(config, fingerprint(stock), sites, entries)
    return LowerSparseMatMul(dynamic_quantization=config.dynamic_quantization)(InsertSparsity(plan)(stock.clone()).model).model


def _register(core: ov.Core) -> None:
    from scap_ov.runtime import register

    register(core)
