"""Let pages of a mapped model file go once they have been read, so that they do not count as this process's memory.

They are read again when they are needed. Only what lies in a mapping of a file that cannot be written is touched, for there nothing can be
lost. Linux; elsewhere nothing happens.
"""

from __future__ import annotations

import bisect
import ctypes
import mmap
from pathlib import Path

import numpy as np

_DONTNEED = 4  # MADV_DONTNEED of madvise(2)
_MAPS = Path("/proc/self/maps")


def let_go(*arrays: np.ndarray) -> None:
    """Let the whole pages of these arrays go that are those of a file; others are left alone."""
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if advise is None or not _MAPS.exists():
        return
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    ranges = _mapped_files()
    starts = [start for start, _ in ranges]
    for array in arrays:
        first = array.ctypes.data
        last = first + array.nbytes
        place = bisect.bisect_right(starts, first) - 1
        if place < 0 or last > ranges[place][1] or not array.flags.c_contiguous:
            continue
        begin, end = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last // mmap.PAGESIZE * mmap.PAGESIZE
        if end > begin:
            advise(begin, end - begin, _DONTNEED)


def _mapped_files() -> list[tuple[int, int]]:
    """Address ranges of files that are mapped for reading alone, ascending."""
    found = []
    for line in _MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        place, access, _, _, inode, *_ = line.split(maxsplit=5)
        if access.startswith("r--") and inode != "0":
            low, high = (int(edge, 16) for edge in place.split("-"))
            found.append((low, high))
    return sorted(found)
