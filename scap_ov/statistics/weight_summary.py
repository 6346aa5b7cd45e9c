"""What fit needs of a site's weights, small enough to travel in the profile: column norms and a random projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scap_ov.mapped_pages import let_go
from scap_ov.passes.openvino.half_reads import missed
from scap_ov.passes.rules.weight_matrix import WeightMatrix

if TYPE_CHECKING:
    from collections.abc import Iterable

_F16_MAX = float(np.finfo(np.float16).max)
SKETCH_ROWS = 64  # a mean squared output error is estimated within 18 %/sqrt(effective rank); the same S serves all candidates


def summarise_weights(matrices: Iterable[WeightMatrix | np.ndarray], in_features: int) -> dict[str, np.ndarray]:
    """Norms and sketch of the layers of one site, read one after the other.

    :param matrices: the layers' weights in order, float [N_i, K], or as they are stored.
    :param in_features: K.
    :return: `column_norm` and `column_norm_l1` float32 [K] over all outputs; `sketch` S·W float16 [64, K] with S of random
        signs / 8, so that |S·W·d|² estimates |W·d|² (Johnson-Lindenstrauss); and, where all weights are of 8 bits, `missed_norm`
        float32 [K], the norms of what the high plane alone misses.
    """
    energies: list[np.ndarray | None] = []
    square = np.zeros(in_features)
    absolute = np.zeros(in_features)
    sketch = np.zeros((SKETCH_ROWS, in_features))
    for index, matrix in enumerate(matrices):
        energies.append(missed_energy(matrix) if isinstance(matrix, WeightMatrix) and matrix.spec.bits == 8 else None)
        for start in range(0, len(matrix), 4096):  # a large output projection is not copied whole
            part = np.asarray(matrix[start : start + 4096], np.float32)
            square += np.einsum("nk,nk->k", part, part, dtype=np.float64)
            absolute += np.abs(part).sum(0, dtype=np.float64)
            sketch += _signs(index, start, len(part)) @ part
        if isinstance(matrix, WeightMatrix):
            let_go(np.asarray(matrix.constant.data))
    known = [energy for energy in energies if energy is not None]
    by_half = {"missed_norm": np.sqrt(sum(known)).astype(np.float32)} if known and len(known) == len(energies) else {}
    return {
        "column_norm": np.sqrt(square).astype(np.float32),
        "column_norm_l1": absolute.astype(np.float32),
        "sketch": np.clip(sketch / np.sqrt(SKETCH_ROWS), -_F16_MAX, _F16_MAX).astype(np.float16),
        **by_half,
    }


def missed_energy(weight: WeightMatrix) -> np.ndarray:
    """Squared norms of what the high plane of an 8-bit weight misses, float64 [K]."""
    total = np.zeros(weight.k)
    for start in range(0, weight.n, 4096):
        lost = missed(weight, slice(start, start + 4096))
        total += np.einsum("nk,nk->k", lost, lost, dtype=np.float64)
    return total


def _signs(layer: int, start: int, count: int) -> np.ndarray:
    # Raw PCG64 bits are the same for every numpy release; distributions of Generator are not promised to be.
    raw = np.random.PCG64([layer, start]).random_raw(count)
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8).reshape(count, 8), axis=1)
    return bits.T.astype(np.float32) * 2 - 1
