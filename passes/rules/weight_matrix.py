"""The weight of a layer as it is stored in a graph, read and dequantised by rows."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import openvino as ov

from scap_ov.passes.rules.constants import FLOATS, float_values, is_finite, unpack_integers
from scap_ov.sites import WeightSpec

_ROWS = 16  # output channels that a thread multiplies at a time: with 14,336 inputs in float64 they are 1.8 MB, which stay in the cache
_ROWS_OF_WHOLE = 4096  # where the weight is read as a whole for every part of it: a large output projection is not copied whole


class LeaveStock(Exception):  # noqa: N818 - not an error: the sentence says why a layer is no site
    """Why a layer stays as it is."""


class NoLayer(Exception):  # noqa: N818 - see above
    """The MatMul is no fully connected layer: nothing constant, or nothing but constants, is multiplied."""


@dataclass(frozen=True)
class WeightMatrix:
    """A weight as it is stored. Nothing is read from the model before it is asked for; `matrix[a:b]` dequantises those rows only.

    :param spec: how it is stored.
    :param n: output channels.
    :param k: input channels.
    :param constant: the Constant with the raw values.
    :param by_input: stored as [K, N] (or [G, g, N]) rather than [N, K] (or [N, G, g]).
    :param scale: as in the model, float32, bfloat16 widened exactly, [N, G], or None for float weights.
    :param zero_point: int16 [N, G] or None.
    :param padding: input channels that are stored after the K that count, to fill the last group; not with by_input.
    :param first: rows that the constant holds before these; not with by_input.
    """

    spec: WeightSpec
    n: int
    k: int
    constant: ov.Node
    by_input: bool
    scale: np.ndarray | None
    zero_point: np.ndarray | None
    padding: int = 0
    first: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """N, K."""
        return self.n, self.k

    def __len__(self) -> int:
        """N."""
        return self.n

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """The dequantised weight."""
        return self.dequantized().astype(dtype or np.float32, copy=False)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some rows dequantised, float32 [n, K]."""
        return self.dequantized(rows)

    def part(self, start: int, stop: int) -> WeightMatrix:
        """Some rows as a weight of their own; nothing is copied. For a weight that is stored by output channels."""
        if self.by_input:
            msg = "a weight that is stored by input channels is read as a whole"
            raise ValueError(msg)
        scale, zero = (None if values is None else values[start:stop] for values in (self.scale, self.zero_point))
        return replace(self, n=stop - start, scale=scale, zero_point=zero, first=self.first + start)

    def raw(self, rows: slice = slice(None)) -> np.ndarray:
        """Stored values of some output channels: uint8 or int8, or float16, float32, and bf16 bits as uint16, [n, K]."""
        start, stop, step = (v + shift for v, shift in zip(rows.indices(self.n), (self.first, self.first, 0), strict=True))
        stored = self.k + self.padding
        if self.spec.dtype in FLOATS:
            values = float_values(self.constant)
        elif self.spec.bits == 4:
            if not self.by_input and step == 1:
                return unpack_integers(self.constant, start * stored, stop * stored).reshape(stop - start, stored)[:, : self.k]
            values = unpack_integers(self.constant, 0, int(np.prod(self.constant.shape)))
        else:
            values = self.constant.data
        matrix = values.reshape(self.k, self.n).T if self.by_input else values.reshape(-1, stored)[:, : self.k]
        return matrix[start:stop:step]

    def nibbles(self) -> np.ndarray | None:
        """Stored bytes of two 4-bit weights each, uint8 [n, K / 2]; None where a row does not begin and end with a byte."""
        stored = self.k + self.padding
        if self.spec.bits != 4 or self.by_input or stored % 2 or self.k % 2:
            return None
        pairs = np.asarray(self.constant.data).reshape(-1).view(np.uint8).reshape(-1, stored // 2)
        return pairs[self.first : self.first + self.n, : self.k // 2]

    def sample(self, count: int) -> np.ndarray:
        """Stored values of about `count` output channels spread over all, [n, K]; what `fingerprint` hashes."""
        step = max(1, self.n // count)
        if self.by_input:
            return self.raw(slice(0, None, step))
        return np.concatenate([self.raw(slice(row, row + 1)) for row in range(0, self.n, step)])

    def dequantized(self, rows: slice = slice(None)) -> np.ndarray:
        """(raw − zero point) · scale, float32 [n, K]."""
        raw = self.raw(rows)
        if self.scale is None:
            return (raw.astype(np.uint32) << 16).view(np.float32) if self.spec.dtype == "bf16" else raw.astype(np.float32)
        values = raw.astype(np.float32)
        if self.zero_point is not None:
            values -= self._spread(self.zero_point[rows].astype(np.float32))
        return values * self._spread(self.scale[rows])

    def not_finite(self) -> str:
        """The reason why a weight with NaN or infinity, its own or its scale's, stays stock; empty where all is finite.

        Such a value reaches every output of its row in the stock model, also from a channel that would be dropped, whose product with 0
        is NaN: no pruned form gives that.
        """
        if self.scale is not None:
            return "" if np.isfinite(self.scale).all() else "its scale holds NaN or infinity"
        return "" if is_finite(self.constant) else "its weight holds NaN or infinity"

    def scales(self, rows: slice = slice(None)) -> np.ndarray:
        """The scale of every weight of some output channels of an integer weight, float32 [n, K]; 1 for a float one."""
        if self.scale is None:
            return np.ones((len(range(*rows.indices(self.n))), self.k), np.float32)
        return self._spread(self.scale[rows])

    def _spread(self, grouped: np.ndarray) -> np.ndarray:
        """[n, G] -> [n, K]."""
        return np.repeat(grouped, self.spec.group_size, axis=1)[:, : self.k]


def product(weight: WeightMatrix, vector: np.ndarray) -> np.ndarray:
    """W·v in float64, [N].

    :param vector: [1] or [K].
    """
    full = np.broadcast_to(vector.astype(np.float64), weight.k)
    result = np.empty(weight.n)
    count = _ROWS_OF_WHOLE if weight.by_input else _ROWS

    def part(start: int) -> None:
        rows = slice(start, min(start + count, weight.n))
        result[rows] = _of_groups(weight, rows, full) if weight.scale is not None else weight[rows].astype(np.float64) @ full

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(part, range(0, weight.n, count)))
    return result


def _of_groups(weight: WeightMatrix, rows: slice, vector: np.ndarray) -> np.ndarray:
    """Of some output channels: scales and zero points are taken once a group, not once a weight."""
    starts = np.arange(0, weight.k, weight.spec.group_size)
    values = weight.raw(rows).astype(np.float64)
    if weight.k % weight.spec.group_size:
        sums = np.add.reduceat(np.multiply(values, vector, out=values), starts, axis=1)
    else:
        sums = np.einsum("ngk,gk->ng", values.reshape(len(values), len(starts), -1), vector.reshape(len(starts), -1))
    if weight.zero_point is not None:
        sums -= weight.zero_point[rows] * np.add.reduceat(vector, starts)
    return np.einsum("ng,ng->n", sums, weight.scale[rows].astype(np.float64))  # type: ignore[index]
