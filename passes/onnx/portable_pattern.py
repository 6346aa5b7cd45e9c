"""Write the portable pattern of one site in ONNX operators of opset 17, inline or as a function. Read by: match_pattern.

Sub(x, c) -> Abs -> LessOrEqual(., τ') -> Not -> [Or(., exempt)] -> Where(., x, c)        as docs/packing.md has it, there also the ramp
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from scap_ov.passes.onnx.emitter import Emitter
from scap_ov.passes.onnx.variants import DOMAIN, Variant


def write_pattern(emit: Emitter, variant: Variant, inputs: dict[str, ir.Value]) -> ir.Value:
    """The pattern in nodes.

    :param inputs: by slot: `x` [..., K]; `threshold` and `center` f32 [1] or [K]; `replacement`, the centre in x's type;
        `max_sparse_rows` int64 scalar; `steepness` f32 [1].
    :return: x with its dropped entries replaced by c.
    """
    x, threshold = inputs["x"], inputs["threshold"]
    if variant.rows == "decode":
        never = emit.constant(np.full(1, -1, np.float32), "never")
        threshold = emit.op("Where", _few_rows(emit, inputs), threshold, never, name="row_threshold")
    compared = emit.op("Cast", x, to=ir.DataType.FLOAT.value) if variant.half else x
    shifted = emit.op("Sub", compared, inputs["center"]) if variant.centered else compared
    distance = emit.op("Abs", shifted)
    if variant.exempts and variant.ramp:
        threshold = emit.op("Where", _first_position(emit, x, variant), emit.constant(np.full(1, -1, np.float32), "never"), threshold)
    keep = emit.op("Not", emit.op("LessOrEqual", distance, threshold))  # NaN is kept
    if variant.exempts and not variant.ramp:
        keep = emit.op("Or", keep, _first_position(emit, x, variant))
    if variant.ramp:
        above = emit.op("Mul", emit.op("Sub", distance, threshold), inputs["steepness"])
        excess = emit.op("Relu", emit.op("Sub", threshold, above))
        value = emit.op("Sub", compared, emit.op("Mul", emit.op("Sign", shifted), excess), name="ramped")
        return emit.op("Where", keep, emit.op("CastLike", value, x) if variant.half else value, inputs["replacement"], name="pruned")
    return emit.op("Where", keep, x, inputs["replacement"], name="pruned")


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
    output = write_pattern(emit, variant, values)
    graph = ir.Graph(list(values.values()), [output], nodes=emit.nodes, opset_imports={"": opset}, name=variant.function)
    return ir.Function(DOMAIN, variant.function, graph=graph, attributes=[])


def call_function(emit: Emitter, variant: Variant, inputs: dict[str, ir.Value]) -> ir.Value:
    """The pattern as one node that calls the function of its variant."""
    return emit.op(variant.function, *(inputs[slot] for slot in variant.slots), name="pruned", domain=DOMAIN)


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
