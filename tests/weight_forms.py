"""Fully connected layers in every weight form that exporters write, with the matrix that each stands for. Imported by tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.rules.constants import INTEGERS, typed_constant
from scap_ov.sites import WeightSpec

WIDTHS = {"f32": np.float32, "f16": np.float16}


@dataclass(frozen=True)
class Form:
    """One way of writing a weight.

    :param group: input channels that share a scale; 0: all of them.
    :param scale: f16, f32 or bf16; the type that the chain computes in.
    :param closing: whether a Convert to the type of the activations ends the chain, when the chain is not in that type.
    :param by_input: stored [K, N] or [G, g, N], transpose_b=False.
    :param single_group: per channel, but written as [N, 1, K].
    :param cut: channels that a Slice takes off the last group.
    """

    dtype: str
    group: int = 0
    zero: bool = False
    scale: str = "f16"
    by_input: bool = False
    single_group: bool = False
    cut: int = 0

    def spec(self, k: int) -> WeightSpec:
        """What find should say about it."""
        if self.dtype in ("f32", "f16", "bf16"):
            return WeightSpec(self.dtype)
        return WeightSpec(self.dtype, self.group or k, self.scale, self.zero)


FORMS = {
    "f32": Form("f32"),
    "f16": Form("f16"),
    "bf16": Form("bf16"),
    "f32-by-input": Form("f32", by_input=True),
    "f16-by-input": Form("f16", by_input=True),
    "i8": Form("i8"),
    "u8-zp": Form("u8", zero=True),
    "i8-zp": Form("i8", zero=True),
    "u8-f32-zp": Form("u8", zero=True, scale="f32"),
    "i8-bf16": Form("i8", scale="bf16"),
    "i8-by-input": Form("i8", by_input=True),
    "i8-g32": Form("i8", 32),
    "u8-g64-zp": Form("u8", 64, zero=True),
    "i4-g32": Form("i4", 32),
    "i4-g64": Form("i4", 64),
    "i4-g128": Form("i4", 128),
    "i4": Form("i4"),
    "i4-one-group": Form("i4", single_group=True),
    "u4-g32-zp": Form("u4", 32, zero=True),
    "u4-g64-zp": Form("u4", 64, zero=True),
    "u4-g128-zp": Form("u4", 128, zero=True),
    "u4-zp": Form("u4", zero=True),
    "u4-g32": Form("u4", 32),
    "u4-g32-f32-zp": Form("u4", 32, zero=True, scale="f32"),
    "i4-g32-bf16": Form("i4", 32, scale="bf16"),
    "i4-g32-by-input": Form("i4", 32, by_input=True),
    "u4-g64-zp-by-input": Form("u4", 64, zero=True, by_input=True),
    "u4-g96-short": Form("u4", 96, zero=True, scale="f32", cut=32),  # 256 = 96 + 96 + 64
    "i8-g96-short": Form("i8", 96, cut=32),
}
# Sizes that are multiples of nothing go with forms that need no groups.
PER_CHANNEL = [name for name, form in FORMS.items() if not form.group]


@dataclass(frozen=True)
class Stored:
    """A weight in a graph and in numpy.

    :param value: the end of the chain, [N, K] or, by_input, [K, N].
    :param raw: integers, or the floats, [N, K]; bf16 as float32.
    :param scale: float32 [N, G] or None.
    :param zero: int16 [N, G] or None.
    :param dense: float64 [N, K].
    """

    value: ov.Output
    form: Form
    raw: np.ndarray
    scale: np.ndarray | None
    zero: np.ndarray | None
    dense: np.ndarray

    @property
    def plugin_rounding(self) -> float:
        """How far, of its size, a weight may be off in the CPU plugin, which multiplies by bf16 scales in bf16 where the CPU can."""
        return 2.0**-8 if self.scale is not None and self.form.scale == "bf16" else 0.0


def store(n: int, k: int, form: Form | str, rng: np.random.Generator, *, activations: str = "f32") -> Stored:
    """Random weights, roughly normal with a spread of 1/√K.

    :param activations: type that the chain ends in.
    """
    form = FORMS[form] if isinstance(form, str) else form
    if form.dtype in ("f32", "f16", "bf16"):
        return _floats(n, k, form, rng, activations)
    group, wanted, k = form.group or k, k, k + form.cut
    assert k % group == 0, "groups are whole in a graph"
    groups, (low, high) = k // group, INTEGERS[form.dtype]
    raw = rng.integers(low, high + 1, (n, k)).astype(np.int16)
    scale = _rounded(((rng.random((n, groups)) + 0.5) * 3 / ((high - low) * np.sqrt(k))).astype(np.float32), form.scale)
    middle = (low + high + 1) // 2
    zero = rng.integers(max(low, middle - 3), min(high, middle + 3) + 1, (n, groups)).astype(np.int16) if form.zero else None
    shifted = raw.astype(np.float64) - (0 if zero is None else np.repeat(zero, group, 1))
    with np.errstate(invalid="ignore"):
        dense = shifted * np.repeat(scale.astype(np.float64), group, 1)
    return Stored(_chain(raw, scale, zero, form, groups, activations), form, raw[:, :wanted], scale, zero, dense[:, :wanted])


class OddNumbers:
    """A generator for `store` whose weights, or scales where it has any, hold NaN or infinity in one place."""

    def __init__(self, odd: float) -> None:
        self._odd, self._rng = odd, np.random.default_rng(0)
        self.integers = self._rng.integers

    def standard_normal(self, *size) -> np.ndarray:
        return self._with(self._rng.standard_normal(*size))

    def random(self, *size) -> np.ndarray:
        return self._with(self._rng.random(*size))

    def _with(self, values: np.ndarray) -> np.ndarray:
        values.reshape(-1)[values.size // 2 + 1] = self._odd
        return values


def matmul(x: ov.Output | ov.Node, stored: Stored, name: str) -> ov.Node:
    """The layer."""
    node = ops.matmul(x, stored.value, False, not stored.form.by_input)
    node.set_friendly_name(name)
    return node


def _floats(n: int, k: int, form: Form, rng: np.random.Generator, activations: str) -> Stored:
    values = _rounded((rng.standard_normal((n, k)) / np.sqrt(k)).astype(np.float32), form.dtype)
    stored = typed_constant(values.T if form.by_input else values, [k, n] if form.by_input else [n, k], form.dtype).output(0)
    value = stored if form.dtype == activations else ops.convert(stored, activations).output(0)
    return Stored(value, form, values, None, None, values.astype(np.float64))


def _chain(raw: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, form: Form, groups: int, activations: str) -> ov.Output:
    n, k = raw.shape
    three = groups > 1 or form.single_group

    def shaped(values: np.ndarray, width: int) -> tuple[np.ndarray, list[int]]:
        """[N, G · width] in the axes of the graph."""
        if form.by_input:
            return values.T, ([groups, width, n] if three else [width, n])
        return values, ([n, groups, width] if three else [n, width])

    value = ops.convert(typed_constant(*shaped(raw, k // groups), form.dtype), form.scale)
    if zero is not None:
        value = ops.subtract(value, ops.convert(typed_constant(*shaped(zero, 1), form.dtype), form.scale))
    value = ops.multiply(value, typed_constant(*shaped(scale, 1), form.scale))
    if three:
        value = ops.reshape(value, ops.constant(np.array([k, n] if form.by_input else [n, k], np.int64)), special_zero=False)
    if form.cut:
        value = ops.slice(value, np.array([0]), np.array([k - form.cut]), np.array([1]), np.array([1]))
    return value.output(0) if form.scale == activations else ops.convert(value, activations).output(0)


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """To what the type can hold, float32 still."""
    if dtype == "f16":
        return values.astype(np.float16).astype(np.float32)
    if dtype == "bf16":
        return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return values
