"""Made-up sites and profiles for tests that need no model."""

from __future__ import annotations

import functools

import numpy as np

from scap_ov.sites import Layer, Site, SiteKind, WeightSpec
from scap_ov.statistics.collector import Collector, Sample, gate_name
from scap_ov.statistics.observers.reservoir import row_priorities
from scap_ov.statistics.profile import CalibrationProfile

HIDDEN, FFN = 24, 40
_LAYERS = {
    "qkv": (("q", HIDDEN), ("k", 8), ("v", 8)),
    "o": (("o", HIDDEN),),
    "up": (("gate", FFN), ("up", FFN)),
    "down": (("down", HIDDEN),),
}


def make_sites(blocks: int, *, lm_head: bool = True) -> tuple[Site, ...]:
    """Sites of a small gated decoder."""
    sites = [
        Site(
            f"block.{b}.{kind}",
            SiteKind(kind),
            b,
            tuple(Layer(f"layers.{b}.{name}_proj", FFN if kind == "down" else HIDDEN, n, WeightSpec("f16")) for name, n in layers),
        )
        for b in range(blocks)
        for kind, layers in _LAYERS.items()
    ]
    if lm_head:
        sites.append(
            Site("lm_head", SiteKind.LM_HEAD, -1, (Layer("lm_head", HIDDEN, 100, WeightSpec("u8", HIDDEN, "f16", has_zero_point=True)),))
        )
    return tuple(sites)


def make_weights(site: Site) -> list[np.ndarray]:
    """Weights with columns of unequal size, the same at every call."""
    rng = np.random.default_rng([len(site.name), site.block + 1, site.in_features])
    size = rng.lognormal(0, 0.7, site.in_features)
    return [(rng.standard_normal((layer.out_features, site.in_features)) * size).astype(np.float32) for layer in site.layers]


def make_samples(sites: tuple[Site, ...], count: int, tokens: int = 20, *, seed: int = 0) -> list[Sample]:
    """Activations with heavy tails, channel means and scales of their own; a SiLU gate beside every down."""
    samples = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        values = {}
        for number, site in enumerate(sites):
            channel = np.random.default_rng([7, number])
            mean, scale = channel.normal(0, 0.3, site.in_features), channel.lognormal(0, 0.5, site.in_features)
            values[site.name] = (mean + scale * rng.standard_t(4, (1, tokens, site.in_features))).astype(np.float32)
            if site.kind is SiteKind.DOWN:
                gate = rng.standard_normal((1, tokens, site.in_features))
                values[gate_name(site.name)] = (gate / (1 + np.exp(-gate))).astype(np.float32)
        keep = np.arange(tokens) > 0
        priority = row_priorities(seed * 1000 + index, tokens)
        samples.append(Sample(values, dict.fromkeys(values, keep), dict.fromkeys(values, priority)))
    return samples


def make_profile(samples: list[Sample], sites: tuple[Site, ...], capacity: int = 256) -> CalibrationProfile:
    """What `observe` would make of these samples."""
    collector = Collector(sites, capacity)
    for sample in samples:
        collector.add(sample)
    collector.check_counts()
    statistics = {site.name: collector.finish(site, make_weights(site)) for site in sites}
    metadata = {"samples": collector.samples, "tokens": max(collector.counts.values()), "sequential": False}
    return CalibrationProfile("f" * 64, sites, statistics, capacity, {}, metadata)


@functools.cache
def small_profile() -> CalibrationProfile:
    """A profile of two blocks."""
    sites = make_sites(2)
    return make_profile(make_samples(sites, 30), sites)
