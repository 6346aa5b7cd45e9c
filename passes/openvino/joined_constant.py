"""A constant that is made of others, one behind the other, and need not be in memory before it is in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scap_ov.passes.openvino.aligned import PAGE, aligned_empty

STEP, PAGES = 64, 1 << 20  # bytes: parts begin at cache lines, those of 1 MB and more at pages, as constants of files do


@dataclass(frozen=True)
class JoinedConstant:
    """Where the parts are, and the memory to put them into.

    :param data: uint8 [bytes], not filled yet: until then it takes address space alone.
    :param starts: where each part begins; -1 for one that is not there.
    :param parts: uint8 [n] each.
    """

    data: np.ndarray
    starts: tuple[int, ...]
    parts: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray | None]) -> JoinedConstant:
        """Of arrays of any type; None stands for one that is not there."""
        starts, size = [], 0
        for array in arrays:
            step = PAGE if array is not None and array.nbytes >= PAGES else STEP
            start = -(-size // step) * step
            starts.append(-1 if array is None else start)
            size = size if array is None else start + array.nbytes
        parts = tuple(array.reshape(-1).view(np.uint8) for array in arrays if array is not None)
        return cls(aligned_empty((-(-size // STEP) * STEP,)), tuple(starts), parts)

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.data.size

    def pieces(self) -> Iterator[np.ndarray]:
        """All bytes from the first to the last: the parts, and zeros between and behind them."""
        end = 0
        for start, part in zip((start for start in self.starts if start >= 0), self.parts, strict=True):
            yield np.zeros(start - end, np.uint8)
            yield part
            end = start + part.size
        yield np.zeros(self.size - end, np.uint8)

    def fill(self) -> None:
        """Put the parts into the memory."""
        data, end = self.data, 0
        for piece in self.pieces():
            data[end : end + piece.size] = piece
            end += piece.size
