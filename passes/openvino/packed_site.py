"""Pack the weights of layers that share an input into one buffer, and read them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scap_ov.custom_ops.formats import pack, planes, unpack
from scap_ov.passes.rules.constants import FLOATS
from scap_ov.passes.rules.weight_matrix import WeightMatrix

_BLOCK = 64  # output channels are padded to a multiple of this, docs/packing.md
_NONE = np.zeros(0, np.uint8)
_OFFSET = {"i4": 8, "i8": 128, "u4": 0, "u8": 0}  # signed values, zero points too, are stored unsigned


@dataclass(frozen=True)
class PackedSite:
    """Inputs and attributes of SparseMatMul that hold the weights.

    :param weight: uint8 [K, row_bytes]; in planes [2 K, row_bytes], the high ones first.
    :param scale: bytes of [G, n_padded] f16 or f32, uint8; empty for float weights.
    :param zero_point: uint8 [G · n_padded], or empty.
    :param sizes: N of each layer.
    :param planes: u8 and i8 in two planes of nibbles, which `step` and `offset` join, uint8 [step groups · n_padded].
    :param step_group: input channels that share a step; 0 without planes.
    """

    weight_type: str
    group_size: int
    scale_type: str
    sizes: tuple[int, ...]
    weight: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    planes: bool = False
    step_group: int = 0
    step: np.ndarray = field(default_factory=lambda: _NONE)
    offset: np.ndarray = field(default_factory=lambda: _NONE)

    @property
    def k(self) -> int:
        """Input channels."""
        return len(self.weight) // 2 if self.planes else len(self.weight)


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


def pack_site(weights: Sequence[WeightMatrix], *, in_planes: bool = False) -> PackedSite:
    """Pack layers of one weight type.

    :param weights: all with the same K, type, group size, scale type, and with or without zero points alike.
    :param in_planes: u8 and i8 weights in two planes of nibbles.
    """
    spec, sizes = weights[0].spec, tuple(w.n for w in weights)
    raw = np.concatenate([w.raw() for w in weights])
    packed = _NONE.reshape(0, 0) if in_planes else pack(raw, spec.dtype)
    if spec.dtype in FLOATS:
        return PackedSite(spec.dtype, 0, "", sizes, packed, _NONE, _NONE)
    scale_type = packed_scale_type(spec.scale_dtype)
    scale = _rows([w.scale for w in weights if w.scale is not None]).astype(np.float16 if scale_type == "f16" else np.float32)
    zero = _NONE
    if spec.has_zero_point:
        zero = (_rows([w.zero_point for w in weights if w.zero_point is not None]) + _OFFSET[spec.dtype]).astype(np.uint8).reshape(-1)
    site = PackedSite(spec.dtype, spec.group_size, scale_type, sizes, packed, scale.reshape(-1).view(np.uint8), zero)
    return _in_planes(site, raw) if in_planes else site


def split_site(site: PackedSite) -> PackedSite:
    """A packed site of u8 or i8 weights in two planes instead."""
    return _in_planes(site, unpack(site.weight, site.weight_type, sum(site.sizes)))


def _in_planes(site: PackedSite, raw: np.ndarray) -> PackedSite:
    """The site with its weight, [N, K] as stored, in planes."""
    group = planes.step_group(site.group_size, raw.shape[1])
    split = planes.split(raw, group)
    weight = np.concatenate([pack(split.high, "u4"), pack(split.low, "u4")])
    step, offset = (_rows([each]).reshape(-1) for each in (split.step, split.offset))
    return replace(site, planes=True, step_group=group, weight=weight, step=step, offset=offset)


def _from_planes(site: PackedSite, n: int) -> np.ndarray:
    """Inverse of `_in_planes`: [N, K] as stored."""
    high, low = (unpack(rows, "u4", n) for rows in (site.weight[: site.k], site.weight[site.k :]))
    padded = -(-n // _BLOCK) * _BLOCK
    step, offset = (each.reshape(-1, padded)[:, :n].T for each in (site.step, site.offset))
    q = planes.join(planes.Planes(high, low, step, offset, site.step_group))
    return (q ^ np.uint8(128)).view(np.int8) if site.weight_type == "i8" else q


def unpack_site(site: PackedSite) -> list[LayerWeight]:
    """The layers' weights, bit for bit what `pack_site` read."""
    n = sum(site.sizes)
    raw = _from_planes(site, n) if site.planes else unpack(site.weight, site.weight_type, n)
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
