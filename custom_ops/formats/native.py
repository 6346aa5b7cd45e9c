"""What the extension library packs: the bits that numpy finds too, in a fraction of the time and straight into their place."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scap_ov.custom_ops.formats.base import side_by_side
from scap_ov.custom_ops.library import loaded
from scap_ov.errors import ExtensionError

_AT_ONCE = 512  # bytes of every output channel that one call packs


class _Rows(ctypes.Structure):
    _fields_ = (("rows", ctypes.c_void_p), ("n", ctypes.c_size_t), ("bits", ctypes.c_int32), ("flip", ctypes.c_uint8))


class _Steps(ctypes.Structure):
    _fields_ = (("group", ctypes.c_size_t), ("groups", ctypes.c_size_t), ("step", ctypes.c_void_p), ("offset", ctypes.c_void_p))


@dataclass(frozen=True)
class Stored:
    """Output channels of one or several layers as a model stores them.

    :param parts: of each layer, bytes [N, B] whose rows are contiguous.
    :param bits: 8, B = K; or 4, two weights in a byte, the first in the low nibble: 2 B = K.
    :param flip: what turns stored values into those of the packed formats, by xor: 128 of i8, 8 of i4 in bytes, 0x88 of two i4.
    """

    parts: Sequence[np.ndarray]
    bits: int
    flip: int

    @property
    def width(self) -> int:
        """B."""
        return int(self.parts[0].shape[1])

    def addresses(self) -> np.ndarray:
        """Of every output channel, uint64 [N]."""
        each = [part.ctypes.data + np.arange(len(part), dtype=np.uint64) * np.uint64(part.strides[0]) for part in self.parts]
        return np.concatenate(each)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The extension library; None where it cannot be loaded, or is of a release that does not pack."""
    try:
        found = loaded(_with_functions)
    except ExtensionError:
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    found.scap_ov_plane_steps.argtypes = [pointer, size, size, pointer, pointer]
    found.scap_ov_pack.argtypes = [ctypes.POINTER(_Rows), size, size, ctypes.c_int32, pointer, size]
    found.scap_ov_pack_planes.argtypes = [ctypes.POINTER(_Rows), size, size, ctypes.POINTER(_Steps), pointer, pointer, size]
    return found


def _with_functions(path: str) -> ctypes.CDLL:
    found = ctypes.CDLL(path)
    for function in (found.scap_ov_plane_steps, found.scap_ov_pack, found.scap_ov_pack_planes):
        function.restype = None
    return found


def packs(weights: np.ndarray) -> bool:
    """Whether the library is there and takes these bytes [N, K] as they lie: rows are contiguous."""
    return weights.strides[1] == 1 and library() is not None


def pack_into(stored: Stored, packed_bits: int, out: np.ndarray) -> None:
    """Pack into rows of input channels; `library()` is there.

    :param packed_bits: 4 or 8.
    :param out: uint8 [K, row_bytes], every byte of which is written.
    """
    function, rows, addresses = _function("scap_ov_pack"), *_rows(stored)

    def some(part: slice) -> None:
        function(ctypes.byref(rows), part.start, part.stop, packed_bits, out.ctypes.data, out.strides[0])

    side_by_side(some, _slices(stored.width))
    del addresses  # until now: `rows` points there


def pack_planes_into(stored: Stored, group: int, step: np.ndarray, offset: np.ndarray, out: np.ndarray) -> None:
    """Pack 8-bit weights in two planes; `library()` is there.

    :param step: m, uint8 [N, G]. :param offset: o, likewise.
    :param out: uint8 [2 K, row_bytes], every byte of which is written: the high plane, then the low one.
    """
    function, rows, addresses = _function("scap_ov_pack_planes"), *_rows(stored)
    step, offset = (np.ascontiguousarray(each) for each in (step, offset))
    steps = _Steps(group, step.shape[1], step.ctypes.data, offset.ctypes.data)
    high, low = out[: len(out) // 2], out[len(out) // 2 :]

    def some(part: slice) -> None:
        function(ctypes.byref(rows), part.start, part.stop, ctypes.byref(steps), high.ctypes.data, low.ctypes.data, out.strides[0])

    side_by_side(some, _slices(stored.width))
    del addresses


def _function(name: str) -> ctypes._NamedFuncPointer:
    found = library()
    if found is None:
        msg = "the extension library is not loaded"
        raise ExtensionError(msg)
    return getattr(found, name)  # type: ignore[no-any-return]


def _rows(stored: Stored) -> tuple[_Rows, np.ndarray]:
    addresses = stored.addresses()
    return _Rows(addresses.ctypes.data, len(addresses), stored.bits, stored.flip), addresses


def _slices(width: int) -> Iterator[slice]:
    for start in range(0, width, _AT_ONCE):
        yield slice(start, min(start + _AT_ONCE, width))
