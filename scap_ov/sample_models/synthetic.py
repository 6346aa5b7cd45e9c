"""Fully connected layers with random weights in the forms that exporters write."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.sites import WeightSpec

_TYPES = {"u4": ov.Type.u4, "i4": ov.Type.i4, "u8": ov.Type.u8, "i8": ov.Type.i8}
_FLOATS = {"f16": ov.Type.f16, "bf16": ov.Type.bf16, "f32": ov.Type.f32}


def random_weight(n: int, k: int, spec: WeightSpec, rng: np.random.Generator, experts: int = 0) -> ov.Output:
    """A weight [N, K] in f32 at the end of its decompression chain; about normal with a spread of 1/√K.

    :param spec: how the weight is stored; a group size must divide K.
    :param experts: E for the weights [E, N, K] of as many experts; 0 for one matrix.
    """
    lead = [experts, n] if experts else [n]
    rows = n * (experts or 1)
    if spec.dtype in _FLOATS:
        small = (rng.standard_normal((*lead, k), np.float32) / np.sqrt(k)).astype(np.float16)
        if spec.dtype == "f16":
            return ops.convert(ops.constant(small), np.float32).output(0)
        if spec.dtype == "f32":
            return ops.constant(small.astype(np.float32)).output(0)
        bits = (small.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return ops.convert(_constant(bits.reshape(-1).view(np.uint8), [*lead, k], ov.Type.bf16), np.float32).output(0)
    groups = k // spec.group_size
    grouped = groups > 1
    shape = [*lead, groups, spec.group_size] if grouped else [*lead, k]
    bits = spec.bits
    raw_bytes = rng.integers(0, 256, rows * k * bits // 8, dtype=np.uint8)
    value = ops.convert(_constant(raw_bytes, shape, _TYPES[spec.dtype]), np.float16)
    scale_shape = [*lead, groups, 1] if grouped else [*lead, 1]
    if spec.has_zero_point:
        middle = np.full(rows * groups * bits // 8, 0x88 if bits == 4 else 0x80, np.uint8)
        value = ops.subtract(value, ops.convert(_constant(middle, scale_shape, _TYPES[spec.dtype]), np.float16))
    scale = (rng.random(scale_shape, np.float32) + 0.5) * 2 / (2**bits * np.sqrt(k))
    value = ops.multiply(value, ops.constant(scale.astype(np.float16)))
    if grouped:
        value = ops.reshape(value, ops.constant(np.array([*lead, k], np.int64)), special_zero=False)
    return ops.convert(value, np.float32).output(0)


def _constant(raw: np.ndarray, shape: list[int], element: ov.Type) -> ov.Node:
    tensor = ov.Tensor(element, ov.Shape(shape))
    np.copyto(tensor.data.reshape(-1).view(np.uint8), raw)
    return ov.op.Constant(tensor)
