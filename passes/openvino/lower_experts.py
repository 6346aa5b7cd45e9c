"""Replace layers of routed experts by scap_ov::SparseExperts. After: insert_sparsity. Undone by: raise_experts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.mapped_pages import let_go
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino import experts_op, sparse_op
from scap_ov.passes.openvino.find_sites import read_block
from scap_ov.passes.openvino.half_reads import Later
from scap_ov.passes.openvino.level_blocks import PlannedLevels, joined_entries
from scap_ov.passes.openvino.match_experts import match_experts
from scap_ov.passes.openvino.packed_site import pack_site
from scap_ov.passes.openvino.portable_pattern import PREFIX, as_type
from scap_ov.passes.openvino.remove_sparsity import replace_output
from scap_ov.passes.rules.experts import ExpertBlock, RoutedExperts
from scap_ov.passes.rules.match_half_read import HalfRead
from scap_ov.passes.rules.match_pattern import Pattern
from scap_ov.passes.rules.weight_matrix import WeightMatrix, product

_log = logging.getLogger(__name__)
_NOTHING = np.full(1, -1, np.float32)


class LowerExperts(Pass[ov.Model]):
    """Make one op of every layer of routed experts with our pattern at either place, in place.

    1. A layer without our pattern is left alone; where only one place has it, nothing is dropped at the other.
    2. Base, the product W·c of every expert, is computed in float64.
    3. bf16 activations go through the op in f32.
    4. What cannot be lowered stays portable and is given back with the reason: row policies that differ, a ramp, a centre of NaN or inf.
    5. With `levels`, thresholds, centres and bases are those of every level.
    6. Where a place is read by half, its weights are packed in planes; the other place keeps its own form.

    :param among: nodes of the graph in topological order, to look for layers in, whose weights find_sites has looked at; by default all.
    :param dynamic_quantization: quantise activations to int8 for integer weights.
    :param create: makes the op; by default from the extension library.
    :param levels: of the plan, where it has any.
    :param later: of the pass that wrote the patterns: those need not be looked at, and are dropped from it.
    :raises ExtensionError: the library is missing or does not fit, and there is something to lower.
    """

    def __init__(
        self, *, dynamic_quantization: bool = True, create: sparse_op.CreateOp | None = None, levels: PlannedLevels | None = None,
        among: Sequence[ov.Node] | None = None, later: Later | None = None,
    ) -> None:  # fmt: skip
        self._among = among
        self._later = later or Later()
        self._dynamic_quantization = dynamic_quantization
        self._levels = levels
        self._create = create

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Lower all layers."""
        ordered = model.get_ordered_ops() if self._among is None else self._among
        blocks = [block for block in match_experts(ordered)[0] if block.pruned_source or block.pruned_hidden]
        if not blocks:
            return PassResult(model, False)
        create = self._create or sparse_op.creator(experts_op.OP)
        skipped: list[tuple[str, str]] = []
        lowered = 0
        for block in blocks:  # one at a time: the scales of all experts take memory
            routed = read_block(block, looked_at=self._among is not None)
            reason = routed if isinstance(routed, str) else _objection(routed, self._later)
            if isinstance(routed, str) or reason:
                skipped += [(name, reason) for name in _site_names(block) if name]
            else:
                self._replace(routed, create)
                for half, _ in _halves(routed):
                    if half is not None:
                        self._later.drop(half)
                lowered += 1
        if self._among is None:
            model.validate_nodes_and_infer_types()
        _log.info("lowered %d layers of routed experts", lowered)
        return PassResult(model, bool(lowered), skipped)

    def _replace(self, routed: RoutedExperts, create: sparse_op.CreateOp) -> None:
        block = routed.block
        policy = block.pruned_source or block.pruned_hidden
        assert policy is not None  # noqa: S101 - `call` picks blocks that have one
        act = block.activation
        experts = experts_op.Experts(
            up=_stage(routed.up, block.pruned_source, block.biases[0], block.experts, self._levels),
            down=_stage((routed.down,), block.pruned_hidden, block.biases[1], block.experts, self._levels),
            gate_up="interleaved" if len(block.up) == 1 else "halves",
            activation=act.kind, alpha=act.alpha, limit=act.limit,
            rows=policy.rows, max_sparse_rows=max(policy.max_sparse_rows, 1),
        )  # fmt: skip
        dtype = block.source.get_element_type()
        narrow = dtype == ov.Type.bf16
        x = as_type(block.source, ov.Type.f32) if narrow else block.source
        routing = block.routing if block.routing.get_element_type() == ov.Type.f32 else as_type(block.routing, ov.Type.f32)
        dial = None if self._levels is None else self._levels.dial()
        op = experts_op.build(create, x, block.ids, routing, experts, dynamic_quantization=self._dynamic_quantization, dial=dial)
        op.set_friendly_name(experts_name(_site_names(block), [layer.get_friendly_name() for layer in block.layers]))
        output = as_type(op.output(0), dtype) if narrow else op.output(0)
        shape = block.result.get_partial_shape()
        view = [-1, *([1] * (len(shape) - 2)), shape[-1].get_length()]
        let_go(*(np.asarray(weight.constant.data) for weight in (*routed.up, routed.down)))  # packed: need not stay in memory
        replace_output(block.result, ops.reshape(output, ops.constant(np.array(view, np.int64)), special_zero=False).output(0))


def experts_name(sites: Sequence[str], layers: Sequence[str]) -> str:
    """The op's friendly name, which carries those of its two sites (empty where one is not pruned) and of its products."""
    return f"{PREFIX}{','.join(sites)}|{';'.join(layers)}"


def names_in(name: str, products: int) -> tuple[list[str], list[str]]:
    """Sites and products that `experts_name` wrote; made up from the name where that was changed."""
    sites, _, layers = name.removeprefix(PREFIX).partition("|")
    own, parts = sites.split(","), layers.split(";")
    if len(own) != 2 or len(parts) != products:
        return [f"{name}.up", f"{name}.down"], [f"{name}.{i}" for i in range(products)]
    return own, parts


def _site_names(block: ExpertBlock) -> list[str]:
    return ["" if p is None else p.select.get_friendly_name().removeprefix(PREFIX) for p in (block.pruned_source, block.pruned_hidden)]


def _objection(routed: RoutedExperts, later: Later) -> str:
    """Why a block stays portable. Rule 4."""
    block = routed.block
    patterns = [p for p in (block.pruned_source, block.pruned_hidden) if p is not None]
    if odd := next((p.odd_center for p in patterns if p.odd_center), ""):
        return odd
    if any(p.time_first for p in patterns):
        return "its input is [T, B, K], and the op exempts the first position of [B, T, K]"
    if any(p.ramp for p in patterns):
        return "the op for routed experts has no ramp"
    if len({(p.rows, p.max_sparse_rows) for p in patterns}) > 1:
        return "the row policies of its two inputs differ"
    if any(half is None or not later.covers(half, weight) for half, weight in _halves(routed)):
        return "what a product loses by half-reading is not what the high plane of its weights misses"
    return ""


def _halves(routed: RoutedExperts) -> list[tuple[HalfRead | None, WeightMatrix]]:
    """What the layers lose that are read by half, and their weights."""
    places = ((routed.block.pruned_source, routed.up), (routed.block.pruned_hidden, (routed.down,)))
    return [
        (layer.half, weight)
        for pattern, weights in places if _reads_by_half(pattern) for layer, weight in zip(pattern.layers, weights, strict=True)
    ]  # fmt: skip


def _reads_by_half(pattern: Pattern | None) -> TypeGuard[Pattern]:
    return pattern is not None and bool(pattern.whole_threshold.size)


def _stage(
    weights: Sequence[WeightMatrix], pattern: Pattern | None, bias: np.ndarray | None, experts: int, levels: PlannedLevels | None
) -> experts_op.Stage:
    empty = np.zeros(0, np.float32)
    rows = [range(0, weight.n, weight.n // experts) for weight in weights]
    graded = _reads_by_half(pattern)
    parts = ([w.part(r[e], r[e] + r.step) for w, r in zip(weights, rows, strict=True)] for e in range(experts))
    sites = [pack_site(own, in_planes=graded) for own in parts]
    own_bias = empty if bias is None else bias
    if levels is not None:  # a place without a pattern has no site: it keeps everything at every level
        entries = levels.entries("" if pattern is None else pattern.select.get_friendly_name().removeprefix(PREFIX))
        center, threshold, whole = joined_entries(entries)
        bases = [_base(weights, entry.center, experts) for entry in entries]
        base = np.concatenate(
            [b if b.size else np.zeros((experts, sum(w.n for w in weights) // experts), np.float32) for b in bases], axis=1
        )
        base = base if any(b.size for b in bases) else empty
        return experts_op.Stage(sites, center, threshold, base, own_bias, whole if graded else empty)
    center = np.zeros(1, np.float32) if pattern is None else pattern.center
    threshold = _NOTHING if pattern is None else pattern.threshold
    whole = empty if pattern is None else pattern.whole_threshold
    return experts_op.Stage(sites, center, threshold, _base(weights, center, experts), own_bias, whole)


def _base(weights: Sequence[WeightMatrix], center: np.ndarray, experts: int) -> np.ndarray:
    """W·c of every expert, [E, N], or nothing where c is 0. Rule 2."""
    if not center.any():
        return np.zeros(0, np.float32)
    return np.concatenate([product(w, center).reshape(experts, -1) for w in weights], axis=1).astype(np.float32)
