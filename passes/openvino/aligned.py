"""Memory for packed constants that begins with a page, as theirs in a file does.

What OpenVINO allocates begins 16 bytes behind a page's begin: every register of 64 bytes then lies in two lines, and a dense step of eight
rows took up to three times as long on a CPU with AVX-512.
"""

from __future__ import annotations

from math import prod

import numpy as np
import openvino as ov

PAGE = 4096  # bytes; prefetchers stop at the end of one, so strips of a large weight are to begin where pages do


def aligned_empty(shape: tuple[int, ...]) -> np.ndarray:
    """Bytes of any value.

    :param shape: of the uint8 array.
    """
    size = prod(shape)
    raw = np.empty(size + PAGE, np.uint8)
    start = -raw.ctypes.data % PAGE
    return raw[start : start + size].reshape(shape)


def aligned_copy(data: np.ndarray) -> np.ndarray:
    """A copy of a uint8 array."""
    copy = aligned_empty(data.shape)
    copy[:] = data
    return copy


def aligned_constant(data: np.ndarray) -> ov.Node:
    """A Constant over this very memory, which it keeps."""
    return ov.op.Constant(data, shared_memory=True)
