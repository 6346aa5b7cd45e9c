"""Split 8-bit weights into two planes of nibbles without loss, so that the high one alone is a good 4-bit weight.

For output n and a group of input channels:
    o = min q    m = ceil((max q − o + 1) / 16), 1 … 16    h = floor((q − o) / m), 0 … 15    r = q − o − m·h, 0 … m − 1
q = o + m·h + r exactly. Where the high plane alone is read, a weight stands for the middle of its range, o + m·h + (m − 1) / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scap_ov.custom_ops.formats.base import side_by_side

STEP_GROUP = 128  # input channels that share a step where a scale serves the whole row; 64 costs 1.6 % more bytes
_LEVELS = 16  # of a nibble
_BYTES_AT_ONCE = 1 << 18  # of the weight: what is made of them stays in a core's cache
# floor(a / m) = a · ceil(4096 / m) >> 12 for every a < 16 m, and the product needs 16 bits; numpy divides bytes one by one.
_RECIPROCAL = np.array([0, *(-(-4096 // m) for m in range(1, _LEVELS + 1))], np.uint16)


@dataclass(frozen=True)
class Planes:
    """The two planes of a weight and what joins them.

    :param high: h, uint8 [N, K].
    :param low: r, uint8 [N, K].
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
    groups = -(-k // group)
    high, low = np.empty((n, k), np.uint8), np.empty((n, k), np.uint8)
    step, offset = np.empty((n, groups), np.uint8), np.empty((n, groups), np.uint8)
    at_once = max(1, _BYTES_AT_ONCE // k)

    def some(rows: slice) -> None:
        q = unsigned(raw[rows])
        if groups * group > k:
            q = np.pad(q, ((0, 0), (0, groups * group - k)), mode="edge")
        q = q.reshape(-1, groups, group)
        o, top = q.min(2, keepdims=True), q.max(2, keepdims=True)
        m = (top - o) // np.uint8(_LEVELS) + np.uint8(1)  # = ceil((top − o + 1) / 16), without leaving 8 bits
        above = q - o
        h = (np.multiply(above, _RECIPROCAL[m], dtype=np.uint16) >> 12).astype(np.uint8)
        high[rows] = h.reshape(len(q), -1)[:, :k]
        low[rows] = (above - h * m).reshape(len(q), -1)[:, :k]
        step[rows], offset[rows] = m[..., 0], o[..., 0]

    side_by_side(some, (slice(start, min(start + at_once, n)) for start in range(0, n, at_once)))
    return Planes(high, low, step, offset, group)


def join(planes: Planes) -> np.ndarray:
    """Inverse of `split`: q, uint8 [N, K]."""
    k = planes.high.shape[1]
    return _spread(planes.offset, planes.group, k) + _spread(planes.step, planes.group, k) * planes.high + planes.low


def unsigned(raw: np.ndarray) -> np.ndarray:
    """Stored values as the packed formats hold them: uint8, signed ones as value + 128."""
    return raw if raw.dtype == np.uint8 else raw.view(np.uint8) ^ np.uint8(128)


def _spread(grouped: np.ndarray, group: int, k: int) -> np.ndarray:
    """[N, G] -> [N, K]."""
    return np.repeat(grouped, group, axis=1)[:, :k]
