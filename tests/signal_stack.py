"""Tests that send themselves a signal, in a process in which others have run models."""

from __future__ import annotations

import ctypes

_SS_DISABLE = 2


class _Stack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def leave_signal_stack() -> None:
    """Have the calling thread's signals handled on its ordinary stack.

    OpenVINO's CPU plugin sets a stack for signals with each Core, and puts the one before back when a Core goes, which then may be one that
    is no longer there: a signal is a segmentation fault from then on.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sigaltstack(ctypes.byref(_Stack(None, _SS_DISABLE, 0)), None) != 0:
        raise OSError(ctypes.get_errno(), "sigaltstack")
