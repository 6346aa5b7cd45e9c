"""The half-read part of the portable pattern: what a layer loses where only the high plane of its weights is read. docs/packing.md.

    y = W·Select(|x − c| > τ₀′, x, c)  +  R·Negative(Select(|x − c| > τ₀′ ∧ |x − c| ≤ τ₁′ [∧ ¬exempt], x − c, 0))

R = W − W_high, so the stock chain of W stays as it is, and a row that is computed dense gets exactly W·x. R is stored once more, in 4 bits:
u4 [N, G, g] -> Convert -> Subtract((m − 1) / 2) -> Multiply(scale) -> Reshape [N, K] -> [Slice] -> [Convert]; of routed experts with
one more dimension in front.

The sign is in the activation and not a Subtract behind the product (as files of earlier versions have it), for OpenVINO 2026.4.1 fuses
that with the product wrongly where it compiles for several streams: in a fifth of the compilations, with Add in none (ADR 0039).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.custom_ops.formats import planes
from scap_ov.passes.rules.constants import put_values, unpack_integers
from scap_ov.passes.rules.match_half_read import HalfRead
from scap_ov.passes.rules.weight_matrix import WeightMatrix

_LOOKED_AT = 16  # rows of a weight: a low plane of another one differs in the first


class Later:
    """Residuals that are written without their values, which nobody reads where a site is lowered at once."""

    def __init__(self) -> None:
        self._open: dict[int, Callable[[], None]] = {}

    def add(self, low: ov.Node, fill: Callable[[], None]) -> None:
        """Take in a residual, known by the constant of its low plane."""
        self._open[low.get_instance_id()] = fill

    def covers(self, half: HalfRead, weight: WeightMatrix) -> bool:
        """Whether R is what the high plane of this very weight misses: it is one of these, or is looked at."""
        return _low_plane(half).get_instance_id() in self._open or is_of(half, weight)

    def drop(self, half: HalfRead) -> None:
        """The layer has been lowered."""
        self._open.pop(_low_plane(half).get_instance_id(), None)

    def fill(self) -> None:
        """Give all that were not dropped their values."""
        while self._open:
            self._open.popitem()[1]()


def residual(
    raw: np.ndarray, scale: np.ndarray, group_size: int, dtype: ov.Type, experts: int = 0, later: Later | None = None
) -> ov.Output:
    """R of one layer, [N, K].

    :param raw: stored weights, uint8 or int8 [N, K].
    :param scale: float32 [N, G].
    :param group_size: input channels that share a scale.
    :param dtype: that the layer multiplies in.
    :param experts: E, where the rows are those of E experts one behind the other: [E, N / E, K] then.
    :param later: takes in what fills in the values.
    """
    n, k = raw.shape
    group = planes.step_group(group_size, k)
    groups = -(-k // group)
    lead = [*([experts, n // experts] if experts else [n]), groups]
    low = ov.Tensor(ov.Type.u4, ov.Shape([*lead, group]))
    middle, spread = (ov.Tensor(ov.Type.f32, ov.Shape([*lead, 1])) for _ in range(2))

    def fill() -> None:
        made = planes.split(raw, group)
        put_values(low, np.pad(made.low, ((0, 0), (0, groups * group - k))), "u4")
        middle.data[:] = ((made.step.astype(np.float32) - 1) / 2).reshape(middle.data.shape)
        spread.data[:] = np.broadcast_to(scale, (n, groups)).reshape(spread.data.shape)

    constant = ov.op.Constant(low)
    if later is None:
        fill()
    else:
        later.add(constant, fill)
    value = ops.multiply(ops.subtract(ops.convert(constant, np.float32), ov.op.Constant(middle)), ov.op.Constant(spread))
    value = ops.reshape(value, ops.constant(np.array([*lead[:-1], groups * group], np.int64)), special_zero=False)
    if groups * group > k:
        value = ops.slice(value, np.array([0]), np.array([k]), np.array([1]), np.array([len(lead) - 1]))
    return value.output(0) if dtype == ov.Type.f32 else ops.convert(value, dtype.get_type_name()).output(0)


def missed(weight: WeightMatrix, rows: slice = slice(None)) -> np.ndarray:
    """R of some output channels of an 8-bit weight, float32 [n, K]."""
    group = planes.step_group(weight.spec.group_size, weight.k)
    return planes.split(weight.raw(rows), group).missed() * weight.scales(rows)


def half_read(shifted: ov.Output, distance: ov.Node, keep: ov.Output, whole: ov.Output, exempt: ov.Node | None, dtype: ov.Type) -> ov.Node:
    """The Select of what is read by half, x − c, and 0 elsewhere. NaN is read whole.

    :param shifted: x − c, f32.
    :param keep: which entries are not dropped.
    :param whole: τ₁, row policy included.
    :param exempt: rows that are computed dense, where the policy does not say so by τ₁.
    :param dtype: of x.
    """
    half = ops.logical_and(keep, ops.less_equal(distance, whole))
    if exempt is not None:
        half = ops.logical_and(half, ops.logical_not(exempt))
    chosen = ops.select(half, shifted, ops.constant(np.float32(0)))
    return chosen if dtype == ov.Type.f32 else ops.convert(chosen, dtype.get_type_name())


def is_of(half: HalfRead, weight: WeightMatrix) -> bool:
    """Whether R is what the high plane of this very weight misses; looked up in some of its rows."""
    constant = _low_plane(half)
    if constant.get_type_name() != "Constant" or len(constant.shape) < 3:
        return False
    # [G, g, N] as the ONNX twin of the pattern stores it, in u8; else [N, G, g], or [E, N / E, G, g] of routed experts
    by_input = not half.lost.get_attributes()["transpose_b"]
    *first, middle, last = constant.shape
    groups, group, outputs = (int(np.prod(first)), middle, last) if by_input else (middle, last, int(np.prod(first)))
    stored = groups * group
    if outputs != weight.n or groups != -(-weight.k // group) or by_input == (constant.get_element_type() == ov.Type.u4):
        return False
    for row in range(0, weight.n, max(1, weight.n // _LOOKED_AT)):
        if by_input:
            low = np.asarray(constant.data).reshape(stored, weight.n)[:, row]
        else:
            low = unpack_integers(constant, row * stored, (row + 1) * stored)
        if not planes.is_low_plane(low[: weight.k], weight.raw(slice(row, row + 1))[0], group):
            return False
    return True


def _low_plane(half: HalfRead) -> ov.Node:
    """The constant that R is made of, where it is as `residual` writes it."""
    node = half.lost.input_value(1).get_node()
    while node.get_type_name() in ("Convert", "Reshape", "Slice", "Multiply", "Subtract"):
        node = node.input_value(0).get_node()
    return node
