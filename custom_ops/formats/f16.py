"""f16: channel order, little endian. Twin of src/formats/f16.hpp."""

from __future__ import annotations

import numpy as np

from scap_ov.custom_ops.formats.base import pack_floats, unpack_floats

DTYPE = np.dtype(np.float16)


def row_bytes(n_padded: int) -> int:
    """Bytes of a row."""
    return 2 * n_padded


def pack(weights: np.ndarray, offset: int) -> np.ndarray:  # noqa: ARG001 - the formats' common signature
    """[N, K] -> uint8 [K, row_bytes]."""
    return pack_floats(weights)


def unpack(packed: np.ndarray, n: int, offset: int) -> np.ndarray:  # noqa: ARG001 - see above
    """Inverse of `pack`."""
    return unpack_floats(packed, n, DTYPE)
