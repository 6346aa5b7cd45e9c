"""Write a stored weight as constants and the decompression chain that optimum-cli writes, which the CPU plugin fuses. Read by: weights."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.openvino.packed_site import LayerWeight, PackedSite
from scap_ov.passes.openvino.portable_pattern import as_type
from scap_ov.passes.rules.constants import FLOATS, typed_constant


def decompressed(packed: PackedSite, weight: LayerWeight, dtype: ov.Type, experts: int = 0) -> ov.Output:
    """Constant -> Convert -> Subtract -> Multiply -> Reshape -> Convert, [N, K] of the given type.

    :param packed: tells weight type, group size and scale type.
    :param weight: raw values [N, K], scales and zero points [N, G].
    :param experts: E, where the rows are those of E experts one behind the other: [E, N / E, K] then.
    """
    n, k = weight.raw.shape
    lead = [experts, n // experts] if experts else [n]
    raw = weight.raw
    if packed.weight_type in FLOATS:
        stored = typed_constant(weight.raw, [*lead, k], packed.weight_type).output(0)
        return stored if stored.get_element_type() == dtype else as_type(stored, dtype)
    grouped = packed.group_size < k
    short = -k % packed.group_size if grouped else 0  # of the last group
    if short:
        raw = np.pad(raw, ((0, 0), (0, short)))
    shape = [*lead, (k + short) // packed.group_size, packed.group_size] if grouped else [*lead, k]
    beside = [*shape[:-1], 1]
    between = getattr(ov.Type, packed.scale_type)
    value = as_type(typed_constant(raw, shape, packed.weight_type).output(0), between)
    if weight.zero_point is not None:
        zero = typed_constant(weight.zero_point, beside, packed.weight_type)
        value = ops.subtract(value, as_type(zero.output(0), between)).output(0)
    assert weight.scale is not None  # noqa: S101 - integer weights have scales, see PackedSite
    value = ops.multiply(value, typed_constant(weight.scale, beside, packed.scale_type)).output(0)
    if grouped:
        value = ops.reshape(value, ops.constant(np.array([*lead, k + short], np.int64)), special_zero=False).output(0)
    if short:
        value = ops.slice(value, np.array([0]), np.array([k]), np.array([1]), np.array([len(lead)])).output(0)
    return value if value.get_element_type() == dtype else as_type(value, dtype)
