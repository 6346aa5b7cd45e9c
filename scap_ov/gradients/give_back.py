"""Give memory that was freed back to the system: glibc keeps blocks of up to 32 MB, and a process would seem to grow with every program."""

from __future__ import annotations

import ctypes

_LIBC = ctypes.CDLL(None)


def give_back() -> None:
    """Do so where the C library can."""
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)
