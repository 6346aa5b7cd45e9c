"""What scap_ov::SparseMatMul computes, in float64 numpy from the packed inputs, and how far float32 and int8 may stray from it.

It shares nothing with the library: no kernel, no split, no order of sums. Packed rows are read by the tables of docs/packing.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

OFFSETS = {"u4": 0, "i4": 8, "u8": 0, "i8": 128}
_ACTIVATION_GROUP = 128
_TWO_DIGITS = 14336  # the largest activation of a row in two digits (ADR 0020)
_START, _RUN, _FINE = 1.5 * 2**23, 128, 32  # of dense sums without AMX: each run starts there and is scaled once in 32 channels (ADR 0052)
_EPSILON = 2.0**-24  # half a unit in the last place of float32
_HALF_EPSILON = 2.0**-11


@dataclass
class Operands:
    """Inputs and attributes of one op. Arrays as in docs/packing.md; `scale` float16 or float32 [G, n_padded]."""

    x: np.ndarray  # [M, K] float32 or float16
    weight: np.ndarray  # uint8 [K, row_bytes]; with planes [2 K, row_bytes]
    weight_type: str
    output_sizes: list[int]
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    group_size: int = 0
    center: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))
    threshold: np.ndarray = field(default_factory=lambda: np.full(1, -1, np.float32))
    compensation: np.ndarray | None = None
    base: np.ndarray | None = None
    rows: str = "decode"
    max_sparse_rows: int = 8
    positions: int = 1  # length of axis 1 of a rank 3 x
    dynamic_quantization: bool = False
    ramp: float = 0.0
    step: np.ndarray | None = None  # of two planes of nibbles: uint8 [step groups, n_padded]
    offset: np.ndarray | None = None
    step_group: int = 0
    whole_threshold: np.ndarray | None = None  # float32 [1] or [K]

    @property
    def n(self) -> int:
        """Output channels of all layers."""
        return sum(self.output_sizes)


def stored_values(weight: np.ndarray, weight_type: str, n: int) -> np.ndarray:
    """Packed rows as numbers [K, n]: integers as they are stored (offset included), or the floats."""
    channel = np.arange(n)
    block, inside = np.divmod(channel, 64)
    position = inside % 4 + 4 * (inside // 16) + 16 * (inside // 4 % 4)
    kind = {"i4": "u4", "i8": "u8"}.get(weight_type, weight_type)
    if kind == "u8":
        return weight[:, 64 * block + position].astype(np.int64)
    if kind == "u4":
        blocks = -(-n // 64)
        single = (block == blocks - 1) & (blocks % 2 == 1)
        byte = 64 * (block // 2) + np.where(single, position % 32, position)
        high = np.where(single, position >= 32, block % 2 == 1)
        return ((weight[:, byte] >> np.where(high, 4, 0)) & 15).astype(np.int64)
    if kind == "bf16":
        return (weight.view(np.uint16).astype(np.uint32) << 16).view(np.float32)[:, :n].astype(np.float64)
    return weight.view(np.float16 if kind == "f16" else np.float32)[:, :n].astype(np.float64)


def dense_weight(o: Operands, *, half: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """W [K, N] in float64, and its magnitude for the tolerance: |w - midpoint| + |zero point - midpoint|, scaled; without the midpoint
    for planes.

    :param half: as the high plane alone has it.
    """
    q = stored_values(o.weight, o.weight_type, o.n) if o.step is None else _of_planes(o, half=half)
    if o.weight_type not in OFFSETS:
        return q, np.abs(q)
    group = np.arange(len(q)) // o.group_size
    scale = o.scale[:, : o.n].astype(np.float64)[group]
    zero = OFFSETS[o.weight_type] if o.zero_point is None else o.zero_point[:, : o.n].astype(np.int64)[group]
    middle = 0 if o.step is not None else 8 if o.weight_type in ("u4", "i4") else 128
    return (q - zero) * scale, (np.abs(q - middle) + np.abs(zero - middle)) * np.abs(scale)


def _of_planes(o: Operands, *, half: bool) -> np.ndarray:
    k = len(o.weight) // 2
    group = np.arange(k) // o.step_group
    step, offset = o.step[:, : o.n].astype(np.float64)[group], o.offset[:, : o.n].astype(np.float64)[group]
    low = (step - 1) / 2 if half else stored_values(o.weight[k:], "u4", o.n)
    return offset + step * stored_values(o.weight[:k], "u4", o.n) + low


def pruned_rows(o: Operands) -> np.ndarray:
    """bool [M]: which rows of x are pruned."""
    m = len(o.x)
    if o.rows == "decode":
        return np.full(m, m <= o.max_sparse_rows)
    return np.ones(m, bool) if o.positions <= 1 else np.arange(m) % o.positions != 0


def kept_values(o: Operands) -> np.ndarray:
    """float32 [M, K]: what multiplies the weights. All of it in float32 on purpose: that decides what is kept, and how far it is moved."""
    x = o.x.astype(np.float32)
    with np.errstate(invalid="ignore"):
        z = x - o.center
        keep = ~(np.abs(z) <= o.threshold)
        if o.ramp:
            steepness = np.float32(1) / np.float32(o.ramp)
            excess = o.threshold - (np.abs(z) - o.threshold) * steepness
            z = z - np.copysign(np.where(excess > 0, excess, np.float32(0)), z)  # NaN moves nothing
    return np.where(pruned_rows(o)[:, None], np.where(keep, z, np.float32(0)), x)


def half_read(o: Operands) -> np.ndarray:
    """bool [M, K]: which of the kept values multiply the high plane alone."""
    if o.whole_threshold is None:
        return np.zeros(o.x.shape, bool)
    return pruned_rows(o)[:, None] & (np.abs(o.x.astype(np.float32) - o.center) <= o.whole_threshold)


def _product(o: Operands, values: np.ndarray, *, magnitude: bool = False) -> np.ndarray:
    halved = half_read(o)
    y = np.where(halved, 0, values) @ dense_weight(o)[magnitude]
    return y + np.where(halved, values, 0) @ dense_weight(o, half=True)[magnitude] if halved.any() else y


def sparse_matmul(o: Operands) -> np.ndarray:
    """y [M, N] in float64."""
    y = _product(o, kept_values(o).astype(np.float64))
    for added in (o.base, o.compensation):
        if added is not None:
            y += np.where(pruned_rows(o)[:, None], added.astype(np.float64), 0)
    return y


def tolerance(o: Operands, *, alike: bool = False, two_digits: bool = False) -> np.ndarray:
    """[M, N]: float32 sums of K products in any order, int8 activations (half a step each) and the rounding of the output.

    :param alike: many activations of a row are the same, so that their errors add up.
    :param two_digits: dense rows may have one scale and 15 bits instead (AMX): coarser beside one thousands of times larger.
    """
    values = np.abs(kept_values(o).astype(np.float64))
    m, k = values.shape
    total = _product(o, values, magnitude=True)
    for added in (o.base, o.compensation):
        if added is not None:
            total = total + np.abs(added)
    bound = (k + 16) * _EPSILON * total + 1e-30
    if o.dynamic_quantization and o.weight_type in OFFSETS:
        weight = np.abs(dense_weight(o)[0])
        error = _quantisation_error(values, weight, activation_group_size(o), 127, alike=alike)
        bound += np.maximum(error, _quantisation_error(values, weight, k, _TWO_DIGITS, alike=alike)) if two_digits else error
        bound += _start_error(values, np.abs(o.scale[:, : o.n].astype(np.float64)), o.group_size, alike=alike)
    if o.x.dtype == np.float16:
        bound += _HALF_EPSILON * np.abs(sparse_matmul(o)) + 2.0**-25
    return bound.reshape(m, -1)


def _quantisation_error(values: np.ndarray, weight: np.ndarray, size: int, largest: int, *, alike: bool) -> np.ndarray:
    """[M, N]: values are off by half a step at most; random errors add up to eight standard deviations at most."""
    worst, variance = 0.0, 0.0
    for start in range(0, values.shape[1], size):
        group = slice(start, start + size)
        step = values[:, group].max(axis=1, keepdims=True) / largest
        worst = worst + 0.5001 * step @ weight[group].sum(axis=0, keepdims=True)
        variance = variance + step**2 / 12 @ (weight[group] ** 2).sum(axis=0, keepdims=True)
    return worst if alike else np.minimum(worst, 8 * np.sqrt(variance))


def _start_error(values: np.ndarray, scale: np.ndarray, size: int, *, alike: bool) -> np.ndarray:
    """[M, N]: every step of a dense sum is rounded beside what the starts of its runs add up to."""
    error = np.zeros(1)
    for group, of_group in enumerate(scale):
        inside = values[:, group * size : (group + 1) * size]
        starts = range(0, inside.shape[1], _RUN)
        added = _START * sum(inside[:, start : start + _RUN].max(axis=1, keepdims=True) / 127 for start in starts)
        steps = -(-inside.shape[1] // _FINE)
        error = error + (steps if alike else min(steps, 8 * np.sqrt(steps / 3))) * _EPSILON * added * of_group
    return error


def activation_group_size(o: Operands) -> int:
    """Input channels that share a scale of quantised activations: at most 128, and within a group of the weight."""
    k, size = o.x.shape[1], o.group_size if o.step is None else o.step_group
    if size < k:
        divisors = [d for d in range(_ACTIVATION_GROUP, 15, -1) if size % d == 0]
        return size if size <= _ACTIVATION_GROUP or not divisors else divisors[0]
    if k <= _ACTIVATION_GROUP:
        return k
    groups = -(-k // _ACTIVATION_GROUP)
    size = -(-k // (groups + groups % 2))
    return -(-size // 16) * 16
