"""What fit needs of a site's weights, small enough to travel in the profile: column norms and a random projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

SKETCH_ROWS = 64  # a mean squared output error is estimated within 18 %/sqrt(effective rank); the same S serves all candidates


def summarise_weights(matrices: Iterable[np.ndarray], in_features: int) -> dict[str, np.ndarray]:
    """Norms and sketch of the layers of one site, read one after the other.

    :param matrices: the layers' weights in order, float [N_i, K].
    :param in_features: K.
    :return: `column_norm` and `column_norm_l1` float32 [K] over all outputs; `sketch` S·W float32 [64, K] with S of random
        signs / 8, so that |S·W·d|² estimates |W·d|² (Johnson-Lindenstrauss).
    """
    square = np.zeros(in_features)
    absolute = np.zeros(in_features)
    sketch = np.zeros((SKETCH_ROWS, in_features))
    for index, matrix in enumerate(matrices):
        for start in range(0, len(matrix), 4096):  # a large output projection is not copied whole
            part = np.asarray(matrix[start : start + 4096], np.float32)
            square += np.einsum("nk,nk->k", part, part, dtype=np.float64)
            absolute += np.abs(part).sum(0, dtype=np.float64)
            sketch += _signs(index, start, len(part)) @ part
    return {
        "column_norm": np.sqrt(square).astype(np.float32),
        "column_norm_l1": absolute.astype(np.float32),
        "sketch": (sketch / np.sqrt(SKETCH_ROWS)).astype(np.float32),
    }


def _signs(layer: int, start: int, count: int) -> np.ndarray:
    # Raw PCG64 bits are the same for every numpy release; distributions of Generator are not promised to be.
    raw = np.random.PCG64([layer, start]).random_raw(count)
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8).reshape(count, 8), axis=1)
    return bits.T.astype(np.float32) * 2 - 1
