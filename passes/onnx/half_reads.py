"""The half-read part of the pattern in ONNX operators: what a layer loses where only the high plane of its weights is read.

As passes.openvino.half_reads, but R is stored by input channel and, for opset 17 has no 4-bit type, in 8 bits:
uint8 [G, g, N] -> Cast -> Sub((m − 1) / 2) -> Mul(scale) -> Reshape [K, N] -> [Slice]
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from scap_ov.custom_ops.formats import planes
from scap_ov.passes.onnx.emitter import Emitter
from scap_ov.passes.onnx.find_sites import SiteMatch, site_values
from scap_ov.passes.rules.weight_matrix import WeightMatrix


def residual(emit: Emitter, weight: WeightMatrix, factor: float, dtype: ir.DataType) -> ir.Value:
    """R of one layer, [K, N].

    :param factor: by which the layer multiplies its product (alpha of Gemm).
    :param dtype: that the layer multiplies in.
    """
    made = planes.split(weight.raw(), planes.step_group(weight.spec.group_size, weight.k))
    n, groups = made.step.shape
    stored = groups * made.group
    low = np.pad(made.low, ((0, 0), (0, stored - weight.k))).T.reshape(groups, made.group, n)
    scale = np.ones((n, 1), np.float32) if weight.scale is None else weight.scale
    spread = np.broadcast_to(scale * np.float32(factor), (n, groups)).T[:, None].astype(np.float32)
    middle = (made.step.T[:, None].astype(np.float32) - 1) / 2
    value = emit.op("Cast", emit.constant(low, "low_plane"), to=ir.DataType.FLOAT.value)
    value = emit.op("Mul", emit.op("Sub", value, emit.constant(middle, "middle")), emit.constant(spread, "scale"))
    value = emit.op("Reshape", value, emit.constant(np.array([stored, n], np.int64), "matrix"))
    if stored > weight.k:
        bounds = [emit.constant(np.array([at], np.int64), "bound") for at in (0, weight.k, 0)]
        value = emit.op("Slice", value, *bounds)
    return value if dtype == ir.DataType.FLOAT else emit.op("Cast", value, to=dtype.value)


def residuals(emit: Emitter, match: SiteMatch) -> list[ir.Value | None]:
    """R of every layer of a site, [K, N]; None for one whose weights are not of 8 bits."""
    source, layers = site_values(match)
    dtype = source.dtype if source.dtype is not None else ir.DataType.FLOAT
    found: list[ir.Value | None] = []
    for layer, weight in zip(layers, match.weights, strict=True):
        alpha = layer.attributes.get("alpha")
        factor = 1.0 if alpha is None else alpha.as_float()
        found.append(residual(emit, weight, factor, dtype) if weight.spec.bits == 8 else None)
    return found
