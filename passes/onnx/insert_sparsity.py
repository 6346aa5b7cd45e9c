"""Insert the Shift-Threshold-MatMul pattern of a plan into an ONNX graph. After: find_sites. Undone by: remove_sparsity."""

from __future__ import annotations

import logging

import ml_dtypes
import numpy as np
import onnx_ir as ir

from scap_ov.errors import MismatchError
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.onnx.emitter import Emitter
from scap_ov.passes.onnx.find_sites import FoundSites, SiteMatch, find_sites, fingerprint, site_values
from scap_ov.passes.onnx.half_reads import residuals
from scap_ov.passes.onnx.portable_pattern import call_function, function, pruned_rows, write_pattern
from scap_ov.passes.onnx.runtime_inputs import RuntimeInputs, SiteInputs
from scap_ov.passes.onnx.time_axis import time_first
from scap_ov.passes.onnx.variants import DOMAIN, DOMAIN_VERSION, PREFIX, Variant
from scap_ov.passes.rules.match_ramp import steepness
from scap_ov.passes.rules.path import path_between
from scap_ov.passes.rules.planned import planned, site_compensation
from scap_ov.plan import SitePlan, SparsityPlan

_log = logging.getLogger(__name__)
_NUMPY = {ir.DataType.FLOAT: np.float32, ir.DataType.FLOAT16: np.float16, ir.DataType.BFLOAT16: ml_dtypes.bfloat16}


class InsertSparsity(Pass[ir.Model]):
    """Prune the input of every site that the plan has an entry for, in place, as docs/packing.md writes it.

    1. An entry x is kept where |x − c| > τ, and replaced by c elsewhere; the comparison is in f32 whatever x is.
    2. `rows="decode"`: τ counts when x has at most `plan.rows_of(site)` rows, all leading dimensions together; else nothing is dropped.
    3. `rows="all"`: τ counts for every row, but position 0 of axis 1 where x is [B, T, K] with T > 1 is computed dense.
    4. Compensation is added to the output of pruned rows only; where a Reshape hides which they are, the site is left alone.
    5. Layers of a site that read it through a Cast or Reshape of their own keep that.
    6. An entry with a whole_threshold takes off what the high plane of 8-bit weights misses, see half_reads.
    7. With `runtime_inputs`, thresholds, centres and compensation become inputs of the model (see `runtime_inputs.RuntimeInputs`, kept in
       `self.inputs`), every site is pruned whatever the plan's entries, and the policy is that of rule 3.
    8. With `functions`, the pattern of a site is one node that calls a function of the model (domain scap_ov), else standard nodes.
    9. Graph outputs keep their names.
    10. With `ramp`, a kept entry is moved towards c by max(0, τ − (|x − c| − τ) / ramp), so that nothing jumps at the threshold.

    :param plan: of this very model.
    :param found: the sites of the graph that the pass is called on, where they are known; the plan is then taken to be its own.
    :param graded: with `runtime_inputs`, an input for the thresholds up to which channels are read by half too.
    :raises MismatchError: the plan belongs to another model.
    :raises BadModelError: the model is sparse already.
    """

    def __init__(
        self, plan: SparsityPlan, *, found: FoundSites | None = None, functions: bool = False, runtime_inputs: bool = False,
        graded: bool = False,
    ) -> None:  # fmt: skip
        self._plan, self._found = plan, found
        self._graded = graded
        self._functions = functions
        self._runtime = runtime_inputs
        self.inputs: RuntimeInputs | None = None

    def requires(self, model: ir.Model) -> None:
        """The plan is this model's."""
        if self._found is None and fingerprint(model) != self._plan.fingerprint:
            msg = "the plan belongs to another model (the fingerprints differ); calibrate this model, or give the one it was made from"
            raise MismatchError(msg)

    def call(self, model: ir.Model) -> PassResult[ir.Model]:
        """Insert the pattern."""
        matches = planned(self._found or find_sites(model, lm_head=True), self._plan)
        skipped: list[tuple[str, str]] = []
        if self._runtime:
            graded = self._graded and any(match.site.two_planes for match in matches.values())
            self.inputs = RuntimeInputs(model, [match.site for match in matches.values()], graded=graded)
            for match in matches.values():
                self._write_runtime(model, match, self.inputs)
        else:
            for name, match in matches.items():
                if name in self._plan.entries:
                    reason = self._write(model, match, self._plan.entries[name])
                    skipped += [(name, reason)] if reason else []
        if self._functions:
            model.opset_imports[DOMAIN] = DOMAIN_VERSION
        _log.info("inserted sparsity at %d sites", len(matches if self._runtime else self._plan.entries))
        return PassResult(model, bool(self._runtime or self._plan.entries), skipped)

    def _write(self, model: ir.Model, match: SiteMatch, entry: SitePlan) -> str:
        """Write one site. :return: why it was left alone, or nothing."""
        x, _ = site_values(match)
        config = self._plan.config
        if config.rows == "all" and entry.compensation is not None and _reshaped(match):
            return "a Reshape hides which row is the first position, so that it cannot be compensated with rows=all"
        emit = Emitter(f"{PREFIX}{match.site.name}/", model.graph)
        center = np.asarray(entry.center, np.float32)
        by_half = None if entry.whole_threshold is None else residuals(emit, match)
        graded = by_half is not None and any(lost is not None for lost in by_half)
        variant = _variant(model, x, config.rows, centered=bool(center.any()), ramp=config.ramp > 0, graded=graded)
        inputs = {
            "x": x,
            "threshold": emit.constant(np.asarray(entry.threshold, np.float32), "threshold"),
            "replacement": emit.constant((center if variant.centered else np.zeros(1)).astype(_NUMPY[_dtype(x)]), "replacement"),
        }
        if variant.centered:
            inputs["center"] = emit.constant(center, "center") if variant.half else inputs["replacement"]
        if variant.rows == "decode":
            inputs["max_sparse_rows"] = emit.constant(np.array(self._plan.rows_of(match.site.name), np.int64), "max_sparse_rows")
        if variant.graded:
            inputs["whole_threshold"] = emit.constant(np.asarray(entry.whole_threshold, np.float32), "whole_threshold")
        inputs |= self._ramp(emit)
        if self._functions and (DOMAIN, variant.function, "") not in model.functions:
            made = function(variant, model.opset_imports[""])
            model.functions[made.identifier()] = made
        made = call_function(emit, variant, inputs) if self._functions else write_pattern(emit, variant, inputs)
        parts = site_compensation(match.site, entry, self._plan)
        extras = None
        if parts is not None:
            extras = [emit.constant(part, "compensation") for part in parts], pruned_rows(emit, variant, inputs)
        _connect(model.graph, match, emit, made, by_half, extras)
        return ""

    def _ramp(self, emit: Emitter) -> dict[str, ir.Value]:
        """The input of a ramp; none where there is no ramp."""
        ramp = self._plan.config.ramp
        return {"steepness": emit.constant(np.full(1, steepness(ramp)), "steepness")} if ramp else {}

    def _write_runtime(self, model: ir.Model, match: SiteMatch, given: RuntimeInputs) -> None:
        x, _ = site_values(match)
        emit = Emitter(f"{PREFIX}{match.site.name}/", model.graph)
        own: SiteInputs = given.of(emit, match.site)
        by_half = None if own.whole is None else residuals(emit, match)
        variant = _variant(model, x, "all", centered=True, ramp=self._plan.config.ramp > 0, graded=own.whole is not None)
        replacement = emit.op("Cast", own.center, to=_dtype(x).value) if variant.half else own.center
        inputs = {"x": x, "threshold": own.threshold, "center": own.center, "replacement": replacement, **self._ramp(emit)}
        if own.whole is not None:
            inputs["whole_threshold"] = own.whole
        made = write_pattern(emit, variant, inputs)
        extras = None if _reshaped(match) else (own.compensation, pruned_rows(emit, variant, inputs))
        _connect(model.graph, match, emit, made, by_half, extras)


def _variant(model: ir.Model, x: ir.Value, rows: str, *, centered: bool, ramp: bool = False, graded: bool = False) -> Variant:
    if rows == "all" and x.shape is not None and time_first(model, [x])[0]:
        rows = "turned"
    axis = 0 if rows == "turned" else 1
    if rows in ("all", "turned") and (x.shape is None or len(x.shape) != 3 or x.shape[axis] == 1):
        rows = "every"
    return Variant(rows, centered, _dtype(x) != ir.DataType.FLOAT, ramp, graded)


def _reshaped(match: SiteMatch) -> bool:
    return any(node.get_type_name() != "Convert" for layer in match.matmuls for node in path_between(layer, match.source))


def _dtype(x: ir.Value) -> ir.DataType:
    return x.dtype if x.dtype is not None else ir.DataType.FLOAT


def _connect(
    graph: ir.Graph,
    match: SiteMatch,
    emit: Emitter,
    made: list[ir.Value],
    residuals: list[ir.Value | None] | None,
    compensation: tuple[list[ir.Value], ir.Value] | None,
) -> None:
    """Let the layers read the pruned tensor, take off what they lose by half-reading, and add the compensation.

    :param made: the pruned tensor, and what is read by half.
    :param residuals: of each layer, see half_reads.
    :param compensation: of each layer, and which rows get it.
    """
    source, layers = site_values(match)
    for value, suffix in zip(made, ("", ".half"), strict=False):
        emit.rename(value, f"{PREFIX}{match.site.name}{suffix}")
        value.shape, value.type = source.shape, source.type
    paths = [[node.onnx for node in path_between(layer, match.source)] for layer in match.matmuls]  # type: ignore[attr-defined]
    producer = source.producer()
    if producer is None:
        graph.insert_before(graph[0], emit.nodes)
    else:
        graph.insert_after(producer, emit.nodes)
    for number, (layer, path) in enumerate(zip(layers, paths, strict=True)):
        prefix = f"{PREFIX}{match.site.name}"
        layer.replace_input_with(0, _along(graph, layer, made[0], path, f"{prefix}/path_{number}"))
        lost = residuals[number] if residuals is not None and len(made) > 1 else None
        behind = Emitter(f"{prefix}/{number}/", graph)
        value = layer.outputs[0]
        if lost is not None:
            half = _along(graph, layer, made[1], path, f"{prefix}/half_path_{number}")
            value = _put_behind(graph, behind, value, behind.op("Sub", value, behind.op("MatMul", half, lost), name="half_read"), "dense")
        if compensation is not None:
            _compensate(graph, behind, value, layer, compensation[0][number], compensation[1])


def _along(graph: ir.Graph, layer: ir.Node, value: ir.Value, path: list[ir.Node], name: str) -> ir.Value:
    """Apply copies of the nodes between a site and its layer to another value."""
    for step, node in enumerate(path):
        copy = ir.Node(node.domain, node.op_type, [value, *node.inputs[1:]], node.attributes.values(), name=f"{name}_{step}")
        copy.outputs[0].name, copy.outputs[0].type, copy.outputs[0].shape = copy.name, node.outputs[0].type, node.outputs[0].shape
        graph.insert_before(layer, copy)
        value = copy.outputs[0]
    return value


def _compensate(graph: ir.Graph, emit: Emitter, old: ir.Value, layer: ir.Node, value: ir.Value, rows: ir.Value) -> None:
    dtype = _dtype(old if old.dtype is not None else layer.inputs[0] or old)
    extra = emit.op("Where", rows, value, emit.constant(np.zeros(1, np.float32), "nothing"))
    if dtype != ir.DataType.FLOAT:
        extra = emit.op("Cast", extra, to=dtype.value)
    was = "dense" if old is layer.outputs[0] else "not_compensated"
    _put_behind(graph, emit, old, emit.op("Add", old, extra, name="compensated"), was)


def _put_behind(graph: ir.Graph, emit: Emitter, old: ir.Value, total: ir.Value, was: str) -> ir.Value:
    """Give the readers of a value, and its name as a graph output, to another that the new nodes of `emit` compute from it.

    :param was: ends the name that a graph output gets instead.
    """
    total.shape, total.type = old.shape, old.type
    producer, own = old.producer(), set(emit.nodes)
    graph.insert_after(producer, emit.nodes)  # type: ignore[arg-type]
    emit.nodes = []
    for node, port in list(old.uses()):
        if node not in own:
            node.replace_input_with(port, total)
    for index, output in enumerate(graph.outputs):
        if output is old:  # rule 9
            graph.outputs[index] = total
            total.name, old.name = old.name, f"{old.name}/{was}"
    return total
