"""Split 8-bit weights into two planes of nibbles without loss, so that the high one alone is a good 4-bit weight.

For output n and a group of input channels, with an offset o ≤ min q and a step m:
    h = min(floor((q − o) / m), 15)    r = q − o − m·h, 0 … 15
q = o + m·h + r exactly. Where the high plane alone is read, a weight stands for o + m·h + (m − 1) / 2, the middle of its range.
A nibble r goes up to 15 whatever m is, so 15 m + 16 values have room, and where the step is below 16, o may lie below min q.
Of the two smallest steps and some offsets for each, `split` takes what misses the least (docs/adr/0035-steps-are-searched.md).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scap_ov.custom_ops.formats import native
from scap_ov.custom_ops.formats.base import side_by_side

STEP_GROUP = 64  # input channels that share a step where a scale serves the whole row; 3 % of the bytes of int8 (ADR 0035)
_LEVELS = 16  # of a nibble
_MOST = _LEVELS - 1
_BYTES_AT_ONCE = 1 << 18  # of the weight: what is made of them stays in a core's cache
_OFFSETS = 5  # that are tried for a step; nine leave 1 % less unread, three 5 % more
# floor(a / m) = a · ceil(4096 / m) >> 12 for every a < 16 m, and the product needs 16 bits; numpy divides bytes one by one.
_RECIPROCAL = np.array([0, *(-(-4096 // m) for m in range(1, _LEVELS + 1))], np.uint16)


@dataclass(frozen=True)
class Planes:
    """The two planes of a weight and what joins them.

    :param high: h, uint8 [N, K].
    :param low: r, uint8 [N, K]; below m but at the upper end of a group.
    :param step: m, uint8 [N, G], G = ceil(K / group).
    :param offset: o, uint8 [N, G].
    :param group: input channels that share a step; the last group may be short.
    """

    high: np.ndarray
    low: np.ndarray
    step: np.ndarray
    offset: np.ndarray
    group: int

    def missed(self) -> np.ndarray:
        """What the high plane alone misses of q, r − (m − 1) / 2, in units of the weight's scale; float32 [N, K]."""
        middle = (self.step.astype(np.float32) - 1) / 2
        return self.low - np.repeat(middle, self.group, axis=1)[:, : self.low.shape[1]]


def step_group(group_size: int, k: int) -> int:
    """Input channels that share a step: those that share a scale, or STEP_GROUP where one scale serves the whole row.

    :param group_size: of the weight's scales; K or more for weights per channel.
    """
    return group_size if group_size < k else min(STEP_GROUP, k)


def split(raw: np.ndarray, group: int) -> Planes:
    """The planes of a weight.

    :param raw: stored values, uint8 [N, K], or int8, which is taken as value + 128.
    :param group: input channels that share a step.
    """
    n, k = raw.shape
    high, low = np.empty((n, k), np.uint8), np.empty((n, k), np.uint8)
    step, offset = search(raw, group)

    def some(rows: slice) -> None:
        q, m, o = _grouped(raw[rows], group), step[rows, :, None], offset[rows, :, None]
        above = q - o
        h = _divided(above, m)
        high[rows] = h.reshape(len(q), -1)[:, :k]
        low[rows] = (above - h * m).reshape(len(q), -1)[:, :k]

    side_by_side(some, _rows_at_once(n, k))
    return Planes(high, low, step, offset, group)


def search(raw: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and offsets of a weight, m and o, uint8 [N, G]; the parameters are those of `split`.

    The extension library searches; where it cannot be loaded, numpy finds the same bits in thirty times the time.
    """
    n, k = raw.shape
    step, offset = (np.empty((n, -(-k // group)), np.uint8) for _ in range(2))
    library = native.library()

    def some(rows: slice) -> None:
        q = _grouped(raw[rows], group)
        m, o = _chosen(q) if library is None else _chosen_by(library.scap_ov_plane_steps, q)
        step[rows], offset[rows] = m[..., 0], o[..., 0]

    side_by_side(some, _rows_at_once(n, k))
    return step, offset


def _rows_at_once(n: int, k: int) -> Iterator[slice]:
    at_once = max(1, _BYTES_AT_ONCE // k)
    return (slice(start, min(start + at_once, n)) for start in range(0, n, at_once))


def _grouped(raw: np.ndarray, group: int) -> np.ndarray:
    """[n, K] as stored -> uint8 [n, G, group], the last weight repeated where the last group is short."""
    q = unsigned(raw)
    if short := -q.shape[1] % group:
        q = np.pad(q, ((0, 0), (0, short)), mode="edge")
    return q.reshape(len(q), -1, group)


def _chosen_by(search: ctypes._NamedFuncPointer, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `_chosen` gives, by the extension library."""
    q = np.ascontiguousarray(q)
    step, offset = (np.empty((*q.shape[:2], 1), np.uint8) for _ in range(2))
    search(q.ctypes.data, step.size, q.shape[2], step.ctypes.data, offset.ctypes.data)
    return step, offset


def _chosen(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps and offsets, uint8 [n, groups, 1], of weights uint8 [n, groups, group]."""
    low, top = (each.astype(np.int16) for each in (q.min(2, keepdims=True), q.max(2, keepdims=True)))
    least = np.maximum(-(-(top - low - _MOST) // _MOST), 1)  # 15 m + 15 reaches from one end to the other
    found, steps, offsets = np.full(low.shape, np.iinfo(np.uint32).max, np.uint32), np.empty_like(low), np.empty_like(low)
    for m in (least, np.minimum(least + 1, _LEVELS)):
        first = np.maximum(np.maximum(top - _MOST * m - _MOST, low - m + 1), 0)
        for number in range(_OFFSETS):
            o = low - (low - first) * np.int16(number) // np.int16(_OFFSETS - 1)
            missed = _missed(q, m.astype(np.uint8), o.astype(np.uint8))
            better = missed < found
            found, steps, offsets = (np.where(better, own, old) for own, old in ((missed, found), (m, steps), (o, offsets)))
    return steps.astype(np.uint8), offsets.astype(np.uint8)


def _missed(q: np.ndarray, m: np.ndarray, o: np.ndarray) -> np.ndarray:
    """Four times the squares of what the high plane misses, summed over each group, uint32 [n, groups, 1]."""
    above = q - o
    twice = (above - _divided(above, m) * m).astype(np.int16) * np.int16(2) - (m.astype(np.int16) - np.int16(1))
    return np.square(twice).sum(2, keepdims=True, dtype=np.uint32)


def _divided(above: np.ndarray, m: np.ndarray) -> np.ndarray:
    """min(floor(a / m), 15), uint8."""
    within = np.minimum(above, m * np.uint8(_LEVELS) - np.uint8(1))  # 16 · 16 − 1 wraps to 255
    return (np.multiply(within, _RECIPROCAL[m], dtype=np.uint16) >> 12).astype(np.uint8)


def join(planes: Planes) -> np.ndarray:
    """Inverse of `split`: q, uint8 [N, K]."""
    k = planes.high.shape[1]
    return _spread(planes.offset, planes.group, k) + _spread(planes.step, planes.group, k) * planes.high + planes.low


def is_low_plane(low: np.ndarray, raw: np.ndarray, group: int) -> bool:
    """Whether this can be the low plane of a row, by any step and offset: those of earlier versions were not searched for.

    :param low: uint8 [K]. :param raw: the row as it is stored, uint8 or int8 [K].
    """
    q = unsigned(raw).astype(np.int16)
    for start in range(0, len(q), group):
        high = (q - low)[start : start + group]  # o + m·h
        high = high - high.min()
        if low.max() > _MOST or high.max() > _MOST * max(int(np.gcd.reduce(high)), 1):
            return False
    return True


def unsigned(raw: np.ndarray) -> np.ndarray:
    """Stored values as the packed formats hold them: uint8, signed ones as value + 128."""
    return raw if raw.dtype == np.uint8 else raw.view(np.uint8) ^ np.uint8(128)


def _spread(grouped: np.ndarray, group: int, k: int) -> np.ndarray:
    """[N, G] -> [N, K]."""
    return np.repeat(grouped, group, axis=1)[:, :k]
