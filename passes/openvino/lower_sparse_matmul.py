"""Replace the portable pattern by scap_ov::SparseMatMul. After: insert_sparsity. Undone by: raise_sparse_matmul."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import openvino as ov

from scap_ov.mapped_pages import let_go
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino import sparse_op
from scap_ov.passes.openvino.half_reads import Later
from scap_ov.passes.openvino.level_blocks import Dial, PlannedLevels, joined, joined_entries
from scap_ov.passes.openvino.packed_site import pack_site, packed_scale_type
from scap_ov.passes.openvino.portable_pattern import PREFIX, as_type, follow
from scap_ov.passes.openvino.remove_sparsity import replace_output
from scap_ov.passes.openvino.weights import read_weight
from scap_ov.passes.rules.match_pattern import Pattern, PatternLayer, match_patterns, patterns_at
from scap_ov.passes.rules.weight_matrix import LeaveStock, NoLayer, WeightMatrix, product
from scap_ov.progress import Progress

_log = logging.getLogger(__name__)
_Values = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Dial | None]  # centre, threshold, base, whole threshold, levels


class LowerSparseMatMul(Pass[ov.Model]):
    """Make one op of every site's pattern and layers, in place.

    1. All layers of a site with weights of one type (dtype, group size, scale type, zero points or none) become one op with
       an output each, up to the op's MOST_OUTPUTS; other types, and further layers, become an op each.
    2. A pattern may come from another tool or through ONNX; match_pattern says which forms are understood.
    3. A pattern without a row policy prunes every row, in the op too: `decode` without a limit.
    4. Base, the product W·c, is computed in float64.
    5. bf16 activations go through the op in f32.
    6. What cannot be lowered stays portable and is given back with the reason: an unreadable weight; where the first position is exempt,
       a Reshape between site and layer, for it hides the positions, and an input [T, B, K].
    7. Weights of layers that are read by half are packed in planes; beside layers that are not they become an op of their own.
    8. With `levels`, the pattern tells only which form the op has; thresholds, centres and bases are those of every level.

    :param dynamic_quantization: quantise activations to int8 for integer weights.
    :param create: makes the op; by default from the extension library.
    :param levels: of the plan, where it has any.
    :param among: Selects of the graph, to look for patterns at, whose weights find_sites has looked at; by default all nodes.
    :param later: of the pass that wrote the patterns: those need not be looked at, and are dropped from it.
    :param progress: sites done, sites in all.
    :raises ExtensionError: the library is missing or does not fit, and there is something to lower.
    """

    def __init__(
        self,
        *,
        dynamic_quantization: bool = True,
        create: sparse_op.CreateOp | None = None,
        levels: PlannedLevels | None = None,
        among: Sequence[ov.Node] | None = None,
        later: Later | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._among = among
        self._later = later or Later()
        self._progress = progress
        self._dynamic_quantization = dynamic_quantization
        self._levels = levels
        self._create = create

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Lower all patterns."""
        patterns = match_patterns(model) if self._among is None else patterns_at(self._among)
        if not patterns:
            return PassResult(model, False)
        create = self._create or sparse_op.creator()
        skipped: list[tuple[str, str]] = []
        lowered, count = 0, len(patterns)
        for number in range(count):
            pattern = patterns.pop(0)  # let go of, and of what it holds, once it is lowered
            lowered += self._lower(pattern, create, skipped)
            if self._progress:
                self._progress(number + 1, count)
        if self._among is None:
            model.validate_nodes_and_infer_types()
        _log.info("lowered %d of %d sites", lowered, count)
        return PassResult(model, bool(lowered), skipped)

    def _lower(self, pattern: Pattern, create: sparse_op.CreateOp, skipped: list[tuple[str, str]]) -> bool:
        name = pattern.select.get_friendly_name().removeprefix(PREFIX)
        readable, reasons = _readable(pattern, self._later, looked_at=self._among is not None)
        for group in _groups(readable):
            _replace(name, pattern, group, create, self._levels, dynamic_quantization=self._dynamic_quantization)
            for half in (layer.half for layer, _ in group if layer.half is not None):
                self._later.drop(half)
        if reasons:
            skipped.append((name, "; ".join(reasons)))
        return bool(readable)


def _readable(pattern: Pattern, later: Later, *, looked_at: bool) -> tuple[list[tuple[PatternLayer, WeightMatrix]], list[str]]:
    """Layers that can be lowered, and why the others cannot.

    :param looked_at: the weights are known to be finite; float ones would be read from the file once more to see it.
    """
    readable, reasons = [], []
    for layer in pattern.layers:
        name = layer.matmul.get_friendly_name()
        if pattern.odd_center:
            reasons.append(f"{name}: {pattern.odd_center}")
            continue
        reshaped = any(node.get_type_name() != "Convert" for node in layer.path)
        try:
            if pattern.time_first:
                reasons.append(f"{name}: its input is [T, B, K], and the op exempts the first position of [B, T, K]")
                continue
            if reshaped and pattern.rows == "all" and len(pattern.source.get_partial_shape()) == 3:
                reasons.append(f"{name}: a Reshape before it hides which row is the first position")
                continue
            weight = read_weight(layer.matmul)
            if layer.half is not None and not later.covers(layer.half, weight):
                reasons.append(f"{name}: what it loses by half-reading is not what the high plane of its weights misses")
                continue
            if odd := "" if looked_at else weight.not_finite():
                reasons.append(f"{name}: {odd}")
                continue
            readable.append((layer, weight))
        except NoLayer:
            reasons.append(f"{name}: it has no constant weight")
        except LeaveStock as reason:
            reasons.append(f"{name}: {reason}")
    return readable, reasons


def _groups(readable: Sequence[tuple[PatternLayer, WeightMatrix]]) -> Iterator[list[tuple[PatternLayer, WeightMatrix]]]:
    """Layers that one op can hold. Rule 1."""
    groups: dict[object, list[tuple[PatternLayer, WeightMatrix]]] = {}
    for layer, weight in readable:
        spec = weight.spec
        scale_type = packed_scale_type(spec.scale_dtype) if spec.scale_dtype else ""
        path = tuple(node.get_instance_id() for node in layer.path)
        key = (spec.dtype, spec.group_size, scale_type, spec.has_zero_point, layer.half is not None, path)
        groups.setdefault(key, []).append((layer, weight))
    for layers in groups.values():
        yield from (layers[start : start + sparse_op.MOST_OUTPUTS] for start in range(0, len(layers), sparse_op.MOST_OUTPUTS))


def _replace(name: str, pattern: Pattern, group: Sequence[tuple[PatternLayer, WeightMatrix]], create: sparse_op.CreateOp,
             levels: PlannedLevels | None, *, dynamic_quantization: bool) -> None:  # fmt: skip
    x = follow(pattern.source, list(group[0][0].path))
    dtype = x.get_element_type()
    narrow = dtype == ov.Type.bf16
    compensation = np.zeros(0, np.float32)
    if any(layer.compensation is not None for layer, _ in group):
        compensation = np.concatenate(
            [np.zeros(w.n, np.float32) if layer.compensation is None else layer.compensation for layer, w in group]
        )
    weights = [weight for _, weight in group]
    graded = group[0][0].half is not None
    values = _values(pattern, weights, graded=graded) if levels is None else _values_of_levels(name, weights, levels, graded=graded)
    center, threshold, base, whole, dial = values
    limit = max(pattern.max_sparse_rows, 1)
    pruning = sparse_op.Pruning(center, threshold, compensation, base, pattern.rows, limit, pattern.ramp, whole)
    packed = pack_site(weights, in_planes=graded, behind=sparse_op.sizes_of(pruning, planes=graded))
    source = as_type(x, ov.Type.f32) if narrow else x
    op = sparse_op.build(create, source, packed, pruning, dynamic_quantization=dynamic_quantization, dial=dial)
    op.set_friendly_name(sparse_op.joined_name(name, [layer.matmul.get_friendly_name() for layer, _ in group]))
    let_go(*(np.asarray(weight.constant.data) for _, weight in group))  # packed: what was read of the file need not stay in memory
    for number, (layer, _) in enumerate(group):
        replace_output(layer.result, as_type(op.output(number), dtype) if narrow else op.output(number))


def _values(pattern: Pattern, weights: Sequence[WeightMatrix], *, graded: bool) -> _Values:
    whole = pattern.whole_threshold if graded else np.zeros(0, np.float32)
    return pattern.center, pattern.threshold, _base(weights, pattern.center), whole, None


def _values_of_levels(name: str, weights: Sequence[WeightMatrix], levels: PlannedLevels, *, graded: bool) -> _Values:
    """Of every level. Rule 8."""
    entries = levels.entries(name)
    center, threshold, whole = joined_entries(entries)
    base = joined([_base(weights, entry.center) for entry in entries], 0.0)
    return center, threshold, base, whole if graded else np.zeros(0, np.float32), levels.dial()


def _base(weights: Sequence[WeightMatrix], center: np.ndarray) -> np.ndarray:
    """W·c of all layers, or nothing where c is 0. Rule 4."""
    if not center.any():
        return np.zeros(0, np.float32)
    return np.concatenate([product(weight, center) for weight in weights]).astype(np.float32)
