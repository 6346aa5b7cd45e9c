"""Teach OpenVINO's ONNX reader the functions that insert_sparsity makes, which it does not expand.

Needs openvino only; the inline form needs nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from openvino import opset13 as ops
from openvino.frontend.onnx import ConversionExtension

from scap_ov.passes.onnx.variants import DOMAIN, VARIANTS, Variant
from scap_ov.passes.rules.beyond import beyond

if TYPE_CHECKING:
    import openvino as ov
    from openvino.frontend import NodeContext


def conversions() -> list[ConversionExtension]:
    """One for each function, for `Core.add_extension` or `ov.convert_model(path, extension=...)`."""
    return [ConversionExtension(variant.function, DOMAIN, _converter(variant)) for variant in VARIANTS]


def _converter(variant: Variant) -> Callable[[NodeContext], list[ov.Output]]:
    def convert(node: NodeContext) -> list[ov.Output]:
        given = {slot: node.get_input(i) for i, slot in enumerate(variant.slots)}
        x, threshold, whole = given["x"], given["threshold"], given.get("whole_threshold")
        if variant.rows == "decode":
            lead = ops.slice(ops.shape_of(x), np.array([0]), np.array([-1]), np.array([1]))
            few = ops.less_equal(ops.reduce_prod(lead, np.array(0), keep_dims=False), given["max_sparse_rows"])
            threshold = ops.select(few, threshold, ops.constant(np.float32(-1)))
            whole = None if whole is None else ops.select(few, whole, ops.constant(np.float32(-1)))
        compared = ops.convert(x, np.float32) if variant.half else x
        shifted = ops.subtract(compared, given["center"]) if variant.centered else compared
        distance, exempt = ops.abs(shifted), None
        if variant.exempts:
            axis = 0 if variant.rows == "turned" else 1
            length = ops.gather(ops.shape_of(x), np.array(axis), np.array(0))
            first = ops.equal(ops.range(np.array(0), length, np.array(1), output_type="i64"), ops.constant(np.array(0)))
            several = ops.greater(length, ops.constant(np.array(1)))
            exempt = ops.unsqueeze(ops.logical_and(first, several), np.arange(1, 3 - axis))
        if exempt is not None and variant.ramp:
            threshold = ops.select(exempt, ops.constant(np.float32(-1)), threshold)
        keep = beyond(distance, threshold)
        if exempt is not None and not variant.ramp:
            keep = ops.logical_or(keep, exempt)
        kept, change = x, shifted
        if variant.ramp:
            above = ops.multiply(ops.subtract(distance, threshold), given["steepness"])
            moved = ops.subtract(compared, ops.multiply(ops.sign(shifted), ops.relu(ops.subtract(threshold, above))))
            kept = ops.convert_like(moved, x) if variant.half else moved
            change = ops.subtract(moved, given["center"]) if variant.centered else moved
        pruned = ops.select(keep, kept, given["replacement"]).output(0)
        return [pruned] if whole is None else [pruned, _by_half(variant, x, keep, distance, whole, exempt, change).output(0)]

    return convert


def _by_half(
    variant: Variant, x: ov.Output, keep: ov.Node, distance: ov.Node, whole: ov.Output | ov.Node, exempt: ov.Node | None, change: ov.Node
) -> ov.Node:
    """What is read by half in the type of x, 0 elsewhere."""
    half = ops.logical_and(keep, ops.less_equal(distance, whole))
    half = half if exempt is None else ops.logical_and(half, ops.logical_not(exempt))
    chosen = ops.select(half, change, ops.constant(np.float32(0)))
    return ops.convert_like(chosen, x) if variant.half else chosen
