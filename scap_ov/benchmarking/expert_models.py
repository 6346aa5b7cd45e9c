"""A layer of routed experts with random weights as a whole model, stock and lowered, to measure the op beside stock."""

from __future__ import annotations

import math

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.benchmarking.site_models import cache_bytes, entry_for
from scap_ov.config import SparsityConfig
from scap_ov.evaluation.bytes_read import layer_bytes
from scap_ov.models.opened import OpenedModel
from scap_ov.passes.openvino.lowering import insert_and_lower
from scap_ov.passes.openvino.write_experts import ExpertLayers, write_experts
from scap_ov.passes.rules.experts import Activation
from scap_ov.plan import SparsityPlan
from scap_ov.runtime import compiling_core
from scap_ov.sample_models.synthetic import random_weight
from scap_ov.sites import Site


def expert_model(up: Site, down: Site) -> ov.Model:
    """One layer; takes x [T, 1, K] and the router's scores [T, E'], T dynamic. E' is E, or as many experts as no cache holds.

    :param up: its two sites.
    """
    size = sum(sum(layer_bytes(layer)) for site in (up, down) for layer in site.layers)
    count = min(up.experts, max(2 * up.experts_per_token, math.ceil(2 * cache_bytes() / size)))
    rng = np.random.default_rng(0)
    x = ops.parameter([-1, 1, up.in_features], np.float32, name="x")
    scores = ops.parameter([-1, count], np.float32, name="scores")
    top = ops.topk(scores, np.array(up.experts_per_token), -1, "max", "value")
    layers = [*up.layers, *down.layers]
    weights = [random_weight(layer.out_features, layer.in_features, layer.weight, rng, count) for layer in layers]
    activation = Activation("silu") if len(up.layers) == 2 else Activation("clamped_swiglu", 1.702, 7.0)
    own = ExpertLayers(weights[:-1], weights[-1], [layer.name for layer in layers])
    y = write_experts(x.output(0), top.output(1), ops.softmax(top.output(0), 1).output(0), own, activation)
    return ov.Model([y], [x, scores], "experts")


def lowered_experts(stock: ov.Model, sparsity: tuple[float, float], config: SparsityConfig, *, graded: bool = False) -> ov.Model:
    """The same behind SparseExperts, with thresholds that leave these shares of the bytes unread at both places; at 0 nothing is dropped.

    The input of `down` is not normal: its threshold is a quantile of what a run of the stock model gives.

    :param graded: read channels by half too, of weights of 8 bits.
    """
    clone, found = OpenedModel(stock).copy()
    entries = {}
    for match, share in zip(found.matches, sparsity, strict=True):
        magnitudes = _magnitudes(clone, match.source) if share else np.zeros(1, np.float32)
        entries[match.site.name] = entry_for(match.site.name, magnitudes.reshape(-1), share, graded=graded)
    plan = SparsityPlan(config, "", tuple(match.site for match in found.matches), entries)
    insert_and_lower(clone, plan, found)
    return clone


def inputs_of(model: ov.Model, seed: int) -> dict[int, np.ndarray]:
    """By number of the input: one token, and scores that choose experts at random."""
    rng = np.random.default_rng(seed)
    x, scores = (port.get_partial_shape()[-1].get_length() for port in model.inputs)
    return {0: rng.standard_normal((1, 1, x), np.float32), 1: rng.standard_normal((1, scores), np.float32)}


def _magnitudes(stock: ov.Model, value: ov.Output) -> np.ndarray:
    tapped = ov.Model([value], stock.get_parameters(), "tapped")
    return np.abs(compiling_core().compile_model(tapped, "CPU")(inputs_of(stock, 0))[0])
