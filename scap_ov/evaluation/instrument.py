"""Ready a model for evaluation: prune every row where that is asked for, and give out how many entries each site drops per token.

1. A stock model is only read: its layers, for the bytes that a token reads.
2. `rows="all"`: our ops get that policy, and keep their weights. Where they cannot, and in the portable form, the plan is taken out of the
   pattern and put into the stock model again with it, in the form the model had. Evaluated as it stands, a window of text would count as a
   prompt and silently measure the dense model.
3. `rows="decode"`: the model stays as it is deployed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.evaluation.extract_plan import is_lowered, pruned_inputs, take_apart
from scap_ov.evaluation.reads import Reads
from scap_ov.gradients.give_back import give_back
from scap_ov.passes.openvino.every_row import EveryRow
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.insert_cats import gate_masks, mask_every_row
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lowering import lower
from scap_ov.passes.openvino.split_blocks import SplitBlocks
from scap_ov.plan import SparsityPlan
from scap_ov.sites import Site, SiteKind


@dataclass(frozen=True)
class SparseView:
    """A model to run, and what is known of it.

    :param sites: those that count in the model-wide sparsity: all block layers, and lm_head when it is pruned.
    :param layers: all fully connected layers, lm_head among them: what a token reads.
    :param dropped: site name -> output with the share of entries that are dropped, float [B, T].
    :param half: the same of those that are read by half, for sites where some may be.
    """

    model: ov.Model
    sites: tuple[Site, ...]
    layers: tuple[Site, ...]
    dropped: dict[str, ov.Output]
    half: dict[str, ov.Output]

    @property
    def graded(self) -> frozenset[str]:
        """Names of the sites that are read by half."""
        return frozenset(self.half)

    def outputs(self) -> dict[str, ov.Output]:
        """Both measurements of all sites, by names of their own."""
        return self.dropped | {f"{name}|half": output for name, output in self.half.items()}

    def reads(self, shares: np.ndarray) -> Reads:
        """What the outputs were on some tokens.

        :param shares: float [outputs, T].
        """
        rows = dict(zip(self.outputs(), shares, strict=True))
        nothing = np.zeros(shares.shape[1])
        half = [rows.get(f"{name}|half", nothing) for name in self.dropped]
        return Reads(self.sites, list(self.dropped), shares[: len(self.dropped)], np.stack(half) if half else shares)


def sparse_view(model: ov.Model, *, rows: str) -> SparseView:
    """Look into a stock or sparse model.

    :param model: taken over: give a clone or a model that was just read.
    :param rows: `all` or `decode`.
    """
    SplitBlocks()(model)
    if not pruned_inputs(model):
        layers = tuple(match.site for match in find_sites(model, lm_head=True).matches)
        return SparseView(model, tuple(s for s in layers if s.kind is not SiteKind.LM_HEAD), layers, {}, {})
    plan, stock = take_apart(model)
    layers = plan.sites
    sites = plan.counted
    if rows == "all" and not EveryRow()(model).modified:
        model = _prune_every_row(stock, plan, lowered=is_lowered(model))
    del stock  # a copy of all weights, where ours are packed
    give_back()
    names = {site.name for site in sites}  # a projection that goes dense through the op does not count
    dropped, half = ({name: share for name, share in shares.items() if name in names} for shares in _measured(model, plan))
    return SparseView(model, sites, layers, dropped, half)


def _prune_every_row(stock: ov.Model, plan: SparsityPlan, *, lowered: bool) -> ov.Model:
    mask_every_row(stock)
    everywhere = replace(plan, config=replace(plan.config, rows="all"))
    model = InsertSparsity(everywhere)(stock).model
    return lower(model, dynamic_quantization=plan.config.dynamic_quantization).model if lowered else model


def _measured(model: ov.Model, plan: SparsityPlan) -> tuple[dict[str, ov.Output], dict[str, ov.Output]]:
    """For each pruned site the shares of dropped and of half-read entries, the exempt rows counted as if pruned.

    What `down` of routed experts reads stays inside of the op: for it, in the lowered form, the shares that were planned are given.
    """
    dropped, half = {}, {}
    for pattern in pruned_inputs(model):
        name = pattern.site_in(plan.sites)
        distance = ops.abs(ops.subtract(pattern.x, ops.constant(pattern.center)))
        small = ops.less_equal(distance, ops.constant(pattern.threshold))
        axes = [-1] if pattern.rows_per_token == 1 else [-2, -1]
        dropped[name] = _share(small, axes)
        if pattern.whole_threshold.size:
            below = ops.less_equal(distance, ops.constant(pattern.whole_threshold))
            half[name] = _share(ops.logical_and(below, ops.logical_not(small)), axes)
    for name, entry in plan.entries.items() if dropped else ():
        if name not in dropped:
            nothing = ops.multiply(next(iter(dropped.values())), ops.constant(np.float32(0)))
            reads = entry.expected_reads()
            dropped[name] = ops.add(nothing, ops.constant(np.float32(reads["dropped"]))).output(0)
            if entry.whole_threshold is not None:
                half[name] = ops.add(nothing, ops.constant(np.float32(reads["half"]))).output(0)
    return dropped | _masked_rows(model, plan), half


def _share(condition: ov.Node, axes: list[int]) -> ov.Output:
    """How much of these last axes is true, float [...]."""
    return ops.reduce_mean(ops.convert(condition, np.float32), ops.constant(np.array(axes)), keep_dims=False).output(0)


def _masked_rows(model: ov.Model, plan: SparsityPlan) -> dict[str, ov.Output]:
    """Of CATS: the share of an `up` site's weights that are multiplied by a gate's zeros; gate itself is read whole."""
    measured = {}
    kinds = {(site.block, site.kind): site for site in plan.sites}
    down = {site.name: site for site in plan.sites}
    for name, mask in gate_masks(model).items():
        up = kinds[down[name].block, SiteKind.UP]
        share = _share(ops.logical_not(mask.input_value(0)), [-1])
        part = np.float32(down[name].in_features / up.out_features)
        measured[up.name] = ops.multiply(share, ops.constant(part)).output(0)
    return measured
