"""Pack the weights of layers that share an input into one buffer, and read them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scap_ov.custom_ops.formats import pack, unpack
from scap_ov.passes.rules.constants import FLOATS
from scap_ov.passes.rules.weight_matrix import WeightMatrix

_BLOCK = 64  # output channels are padded to a multiple of this, docs/packing.md
_OFFSET = {"i4": 8, "i8": 128, "u4": 0, "u8": 0}  # signed values, zero points too, are stored unsigned


@dataclass(frozen=True)
class PackedSite:
    """Inputs and attributes of SparseMatMul that hold the weights.

    :param weight: uint8 [K, row_bytes].
    :param scale: bytes of [G, n_padded] f16 or f32, uint8; empty for float weights.
    :param zero_point: uint8 [G · n_padded], or empty.
    :param sizes: N of each layer.
    """

    weight_type: str
    group_size: int
    scale_type: str
    sizes: tuple[int, ...]
    weight: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray


@dataclass(frozen=True)
class LayerWeight:
    """The stored weight of one layer.

    :param raw: as WeightMatrix.raw, [N, K].
    :param scale: float32 [N, G] or None.
    :param zero_point: int16 [N, G] or None.
    """

    raw: np.ndarray
    scale: np.ndarray | None
    zero_point: np.ndarray | None


def pack_site(weights: Sequence[WeightMatrix]) -> PackedSite:
    """Pack layers of one weight type.

    :param weights: all with the same K, type, group size, scale type, and with or without zero points alike.
    """
    spec, sizes = weights[0].spec, tuple(w.n for w in weights)
    packed = pack(np.concatenate([w.raw() for w in weights]), spec.dtype)
    empty = np.zeros(0, np.uint8)
    if spec.dtype in FLOATS:
        return PackedSite(spec.dtype, 0, "", sizes, packed, empty, empty)
    scale_type = packed_scale_type(spec.scale_dtype)
    scale = _rows([w.scale for w in weights if w.scale is not None]).astype(np.float16 if scale_type == "f16" else np.float32)
    zero = empty
    if spec.has_zero_point:
        zero = (_rows([w.zero_point for w in weights if w.zero_point is not None]) + _OFFSET[spec.dtype]).astype(np.uint8).reshape(-1)
    return PackedSite(spec.dtype, spec.group_size, scale_type, sizes, packed, scale.reshape(-1).view(np.uint8), zero)


def unpack_site(site: PackedSite) -> list[LayerWeight]:
    """The layers' weights, bit for bit what `pack_site` read."""
    n = sum(site.sizes)
    raw = unpack(site.weight, site.weight_type, n)
    ends = np.cumsum(site.sizes)[:-1]
    parts = np.split(raw, ends)
    if site.weight_type in FLOATS:
        return [LayerWeight(part, None, None) for part in parts]
    padded = -(-n // _BLOCK) * _BLOCK
    scale = site.scale.view(np.float16 if site.scale_type == "f16" else np.float32).reshape(-1, padded)[:, :n].T.astype(np.float32)
    zeros: list[np.ndarray | None] = [None] * len(parts)
    if site.zero_point.size:
        zeros = list(np.split(site.zero_point.reshape(-1, padded)[:, :n].T.astype(np.int16) - _OFFSET[site.weight_type], ends))
    return [LayerWeight(*each) for each in zip(parts, np.split(scale, ends), zeros, strict=True)]


def packed_scale_type(scale_dtype: str) -> str:
    """How scales are packed: f16 as they are, others as f32, which holds bf16 exactly."""
    return "f16" if scale_dtype == "f16" else "f32"


def _rows(grouped: Sequence[np.ndarray]) -> np.ndarray:
    """[N_i, G] of each layer -> [G, n_padded]."""
    whole = np.concatenate(grouped).T
    return np.pad(whole, ((0, 0), (0, -whole.shape[1] % _BLOCK)))
