"""Write the portable pattern of one site in ONNX operators of opset 17, inline or as a function. Read by: match_pattern.

Sub(x, c) -> Abs -> LessOrEqual(., τ') -> Not -> [Or(., exempt)] -> Where(., x, c)        as docs/packing.md has it, there also the ramp
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from scap_ov.passes.onnx.emitter import Emitter
from scap_ov.passes.onnx.variants import DOMAIN, Variant


def write_pattern(emit: Emitter, variant: Variant, inputs: dict[str, ir.Value]) -> list[ir.Value]:
    """The pattern in nodes.

    :param inputs: by slot: `x` [..., K]; `threshold`, `center` and `whole_threshold` f32 [1] or [K]; `replacement`, the centre in x's type;
        `max_sparse_rows` int64 scalar; `steepness` f32 [1].
    :return: x with its dropped entries replaced by c; of a graded variant also x − c where it is read by half, 0 elsewhere.
    """
    x = inputs["x"]
    threshold, whole = (_limited(emit, variant, inputs, inputs.get(slot)) for slot in ("threshold", "whole_threshold"))
    compared = emit.op("Cast", x, to=ir.DataType.FLOAT.value) if variant.half else x
    shifted = emit.op("Sub", compared, inputs["center"]) if variant.centered else compared
    distance = emit.op("Abs", shifted)
    exempt = _first_position(emit, x, variant) if variant.exempts else None
    if exempt is not None and variant.ramp:
        threshold = emit.op("Where", exempt, emit.constant(np.full(1, -1, np.float32), "never"), threshold)
    keep = emit.op("Not", emit.op("LessOrEqual", distance, threshold))  # NaN is kept
    if exempt is not None and not variant.ramp:
        keep = emit.op("Or", keep, exempt)
    kept, change = x, shifted
    if variant.ramp:
        above = emit.op("Mul", emit.op("Sub", distance, threshold), inputs["steepness"])
        excess = emit.op("Relu", emit.op("Sub", threshold, above))
        moved = emit.op("Sub", compared, emit.op("Mul", emit.op("Sign", shifted), excess), name="ramped")
        kept = emit.op("CastLike", moved, x) if variant.half else moved
        change = emit.op("Sub", moved, inputs["center"]) if variant.centered else moved
    pruned = emit.op("Where", keep, kept, inputs["replacement"], name="pruned")
    if whole is None:
        return [pruned]
    half = emit.op("And", keep, emit.op("LessOrEqual", distance, whole))
    half = half if exempt is None else emit.op("And", half, emit.op("Not", exempt))
    by_half = emit.op("Where", half, change, emit.constant(np.zeros(1, np.float32), "nothing"), name="half")
    return [pruned, emit.op("CastLike", by_half, x) if variant.half else by_half]


def _limited(emit: Emitter, variant: Variant, inputs: dict[str, ir.Value], threshold: ir.Value | None) -> ir.Value | None:
    """A threshold that counts only where few rows are to be computed."""
    if threshold is None or variant.rows != "decode":
        return threshold
    return emit.op("Where", _few_rows(emit, inputs), threshold, emit.constant(np.full(1, -1, np.float32), "never"), name="row_threshold")


def pruned_rows(emit: Emitter, variant: Variant, inputs: dict[str, ir.Value]) -> ir.Value:
    """Which rows are pruned at all: boolean, broadcastable to the rows of the layers' outputs."""
    if variant.rows == "decode":
        return _few_rows(emit, inputs)
    if variant.exempts:
        return emit.op("Not", _first_position(emit, inputs["x"], variant), name="rows_pruned")
    return emit.constant(np.array(True), "every_row")


def function(variant: Variant, opset: int) -> ir.Function:
    """A variant as a model-local function."""
    values = {slot: ir.Value(name=slot) for slot in variant.slots}
    emit = Emitter("")
    outputs = write_pattern(emit, variant, values)
    graph = ir.Graph(list(values.values()), outputs, nodes=emit.nodes, opset_imports={"": opset}, name=variant.function)
    return ir.Function(DOMAIN, variant.function, graph=graph, attributes=[])


def call_function(emit: Emitter, variant: Variant, inputs: dict[str, ir.Value]) -> list[ir.Value]:
    """The pattern as one node that calls the function of its variant; outputs as of `write_pattern`."""
    given = [inputs[slot] for slot in variant.slots]
    return emit.call(variant.function, given, name="pruned", domain=DOMAIN, outputs=2 if variant.graded else 1)


def _few_rows(emit: Emitter, inputs: dict[str, ir.Value]) -> ir.Value:
    """Whether x has at most max_sparse_rows rows, boolean scalar."""
    rows = emit.op("ReduceProd", emit.op("Shape", inputs["x"], start=0, end=-1), keepdims=0)
    return emit.op("LessOrEqual", rows, inputs["max_sparse_rows"], name="few_rows")


def _first_position(emit: Emitter, x: ir.Value, variant: Variant) -> ir.Value:
    """Which positions stay dense, boolean [T, 1], or [T, 1, 1] where the sequence is axis 0: the first of several."""
    axis = 0 if variant.rows == "turned" else 1
    zero, one = emit.constant(np.array(0, np.int64), "zero"), emit.constant(np.array(1, np.int64), "one")
    length = emit.op("Squeeze", emit.op("Shape", x, start=axis, end=axis + 1))
    first = emit.op("Equal", emit.op("Range", zero, length, one), zero)
    both = emit.op("And", first, emit.op("Greater", length, one))
    return emit.op("Unsqueeze", both, emit.constant(np.arange(1, 3 - axis), "last_axes"), name="exempt")
