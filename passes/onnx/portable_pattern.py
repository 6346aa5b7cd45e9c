"""Write the portable pattern of one site in ONNX operators of opset 17, inline or as a function. Read by: match_pattern.

Sub(x, c) -> Abs -> Greater(., τ') -> [Or(., exempt)] -> Where(., x, c)        as docs/packing.md has it
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from scap_ov.passes.onnx.emitter import Emitter
from scap_ov.passes.onnx.variants import DOMAIN, Variant


@dataclass(frozen=True)
class Pruned:
    """What the pattern gives.

    :param value: x with its dropped entries replaced by c.
    :param rows: boolean, broadcastable to the rows: which are pruned at all; None for every row.
    """

    value: ir.Value
    rows: ir.Value | None


def write_pattern(emit: Emitter, variant: Variant, inputs: dict[str, ir.Value]) -> Pruned:
    """The pattern in nodes.

    :param inputs: by slot: `x` [..., K]; `threshold` and `center` f32 [1] or [K]; `replacement`, the centre in x's type;
        `max_sparse_rows` int64 scalar.
    """
    x, threshold = inputs["x"], inputs["threshold"]
    few = exempt = None
    if variant.rows == "decode":
        rows = emit.op("ReduceProd", emit.op("Shape", x, start=0, end=-1), keepdims=0)
        few = emit.op("LessOrEqual", rows, inputs["max_sparse_rows"], name="few_rows")
        threshold = emit.op("Where", few, threshold, emit.constant(np.full(1, -1, np.float32), "never"), name="row_threshold")
    elif variant.rows == "all":
        exempt = _first_position(emit, x)
    compared = emit.op("Cast", x, to=ir.DataType.FLOAT.value) if variant.half else x
    distance = emit.op("Abs", emit.op("Sub", compared, inputs["center"]) if variant.centered else compared)
    keep = emit.op("Greater", distance, threshold)
    if exempt is not None:
        keep = emit.op("Or", keep, exempt)
    pruned = emit.op("Where", keep, x, inputs["replacement"], name="pruned")
    return Pruned(pruned, few if exempt is None else emit.op("Not", exempt, name="rows_pruned"))


def function(variant: Variant, opset: int) -> ir.Function:
    """A variant as a model-local function; its second output, where there is one, is `Pruned.rows`."""
    values = {slot: ir.Value(name=slot) for slot in variant.slots}
    emit = Emitter("")
    pruned = write_pattern(emit, variant, values)
    outputs = [value for value in (pruned.value, pruned.rows) if value is not None]
    graph = ir.Graph(list(values.values()), outputs, nodes=emit.nodes, opset_imports={"": opset}, name=variant.function)
    return ir.Function(DOMAIN, variant.function, graph=graph, attributes=[])


def call_function(emit: Emitter, variant: Variant, inputs: dict[str, ir.Value]) -> Pruned:
    """The pattern as one node that calls the function of its variant."""
    count = 1 if variant.rows == "every" else 2
    value = emit.op(variant.function, *(inputs[slot] for slot in variant.slots), name="pruned", domain=DOMAIN, outputs=count)
    return Pruned(value, emit.nodes[-1].outputs[1] if count == 2 else None)


def _first_position(emit: Emitter, x: ir.Value) -> ir.Value:
    """Which positions of axis 1 stay dense, boolean [T, 1]: the first of several."""
    zero, one = emit.constant(np.array(0, np.int64), "zero"), emit.constant(np.array(1, np.int64), "one")
    length = emit.op("Squeeze", emit.op("Shape", x, start=1, end=2))
    first = emit.op("Equal", emit.op("Range", zero, length, one), zero)
    both = emit.op("And", first, emit.op("Greater", length, one))
    return emit.op("Unsqueeze", both, emit.constant(np.array([1], np.int64), "last_axis"), name="exempt")
