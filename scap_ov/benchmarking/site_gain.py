"""Decide by measurement which sites the custom op makes faster on this machine.

Two small models stand side by side: copies of one site as stock layers, and the same copies behind SparseMatMul, enough of
them to come from memory and not from a cache, one row of input at the planned sparsity. A layer of routed experts,
whose two sites are one op, is measured as a whole. For each shape and weight form the sparsity (to 5 %) from which on the op
wins is found by bisection. What was measured is kept for the next model of these shapes (measured.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import openvino as ov

from scap_ov.benchmarking.expert_models import expert_model, inputs_of, lowered_experts
from scap_ov.benchmarking.measured import Measurements, number_of
from scap_ov.benchmarking.paired import median_ratio
from scap_ov.benchmarking.site_models import copies_of, repeated, sparse_model, stock_model
from scap_ov.config import SparsityConfig
from scap_ov.plan import SparsityPlan
from scap_ov.progress import TitledProgress
from scap_ov.runtime import compiling_core
from scap_ov.sites import Site, SiteKind, expert_pairs

_SECONDS = 0.5  # of timing per shape, behind building and compiling
_LEAST_GAIN = 1.0
_STEP = 0.05
_MOST_BYTES = 64 << 20
_STEPS = 16  # decode steps with different experts


def sites_that_lose(
    plan: SparsityPlan,
    *,
    measured: Measurements | None = None,
    progress: TitledProgress | None = None,
    gain: Callable[[Site, float, SparsityConfig], float] | None = None,
) -> dict[str, str]:
    """Sites of a plan at which the op would be slower than the stock layers here.

    :param measured: what is known of this machine, and takes in what is measured; nothing is kept without it.
    :param gain: measures how many times faster the op is, for tests; by default `measure_gain`, and `expert_gain` for routed experts.
    :return: site name -> the reason, with figures.
    """
    partner = {up.name: down for up, down in expert_pairs(plan.sites)}
    groups = of_one_shape(site for site in plan.sites if site.name in plan.entries and site.kind is not SiteKind.EXPERT_DOWN)
    reasons: dict[str, str] = {}
    for done, sites in enumerate(groups):
        if progress:
            progress(done, len(groups), "measuring the gain per shape")
        levels = {site.name: level_of(plan.entries[site.name].expected_sparsity) for site in sites}
        measure = gain or (partial(expert_gain, partner[sites[0].name]) if sites[0].experts else measure_gain)
        losing = _losing(sorted(set(levels.values())), _gain_of(measure, sites[0], plan.config, measured))
        if losing is None:
            continue
        level, factor = losing
        first = sites[0]
        reason = (
            f"the op would be slower here: {factor:.2f}x at {level:.0%} for {first.in_features} -> "
            f"{'+'.join(str(layer.out_features) for layer in first.layers)} {first.layers[0].weight.dtype}"
        )
        losers = [site.name for site in sites if levels[site.name] <= level]
        reasons.update(dict.fromkeys([*losers, *(partner[name].name for name in losers if name in partner)], reason))
    return reasons


def _gain_of(
    gain: Callable[[Site, float, SparsityConfig], float], site: Site, config: SparsityConfig, measured: Measurements | None
) -> Callable[[float], float]:
    def of(level: float) -> float:
        return number_of(measured, {"gain at": level, **shape_key(site, config)}, lambda: gain(site, level, config))

    return of


def shape_key(site: Site, config: SparsityConfig) -> dict[str, object]:
    """What the speed of a site depends on beside the machine and the sparsity, in plain values: a key of Measurements."""
    layers = [[layer.out_features, *asdict(layer.weight).values()] for layer in site.layers]
    return {
        "in_features": site.in_features,
        "layers": layers,
        "experts": [site.experts, site.experts_per_token],
        "graded": config.method == "graded" and site.two_planes,
        "dynamic_quantization": config.dynamic_quantization,
    }


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

    :param sparsity: share of the weight bytes that are not read.
    """
    site = measurable(site)
    one = stock_model(site, 1)
    x = np.random.default_rng(0).standard_normal((1, 1, site.in_features), np.float32)
    graded = config.method == "graded" and site.two_planes and sparsity > 0  # what is read whole is not packed in planes
    sparse = sparse_model(one, sparsity, config, graded=graded)
    copies = copies_of(site)
    return ratio_of_times(repeated(one, copies), repeated(sparse, copies), config, [{0: x}])


def measurable(site: Site) -> Site:
    """The site, or its first outputs where it is an output projection beyond 64 MB: time goes with their number then, memory too."""
    share = _MOST_BYTES / site.weight_bytes
    if site.kind is not SiteKind.LM_HEAD or share >= 1:
        return site
    layers = tuple(replace(layer, out_features=max(1, int(layer.out_features * share))) for layer in site.layers)
    return replace(site, layers=layers)


def expert_gain(down: Site, up: Site, sparsity: float, config: SparsityConfig) -> float:
    """The same of a layer of routed experts, with the same share not read at both places; other experts at every step."""
    stock = expert_model(up, down)
    steps = [inputs_of(stock, seed) for seed in range(_STEPS)]
    graded = config.method == "graded" and up.two_planes
    return ratio_of_times(stock, lowered_experts(stock, (sparsity, sparsity), config, graded=graded), config, steps)


def ratio_of_times(
    stock: ov.Model, sparse: ov.Model, config: SparsityConfig, steps: Sequence[Mapping[int, np.ndarray]], seconds: float = _SECONDS
) -> float:
    """Median of the ratios of paired, alternating runs, each with the next of the inputs.

    :param seconds: of timing; five runs at least.
    """
    core = compiling_core()
    quantise = {} if config.dynamic_quantization else {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    requests = []
    for model in (stock, sparse):
        request = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **quantise}).create_infer_request()
        for _ in range(2):
            request.infer(steps[0])
        requests.append(request)
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        inputs = steps[len(times[0]) % len(steps)]
        for own, request in zip(times, requests, strict=True):
            start = time.perf_counter()
            request.infer(inputs, share_inputs=True)
            own.append(time.perf_counter() - start)
    return median_ratio(*times)


def of_one_shape(sites: Iterable[Site]) -> list[list[Site]]:
    """Sites of one speed together: of one shape and form of weights."""
    groups: dict[tuple[object, ...], list[Site]] = {}
    for site in sites:
        layers = tuple((layer.out_features, layer.weight) for layer in site.layers)
        groups.setdefault((site.in_features, layers, site.experts, site.experts_per_token), []).append(site)
    return list(groups.values())


def level_of(sparsity: float) -> float:
    """The sparsity at which a site is measured: to 5 %."""
    return min(round(round(sparsity / _STEP) * _STEP, 2), 0.95)
