"""Pack the weights of layers that share an input into one buffer, and read them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scap_ov.custom_ops.formats import native, pack, packed_row_bytes, planes, unpack
from scap_ov.passes.openvino.aligned import aligned_empty
from scap_ov.passes.openvino.packed_sections import rows_of
from scap_ov.passes.rules.constants import FLOATS
from scap_ov.passes.rules.weight_matrix import WeightMatrix

_BLOCK = 64  # output channels are padded to a multiple of this, docs/packing.md
_NONE = np.zeros(0, np.uint8)
_OFFSET = {"i4": 8, "i8": 128, "u4": 0, "u8": 0}  # signed values, zero points too, are stored unsigned
_IN_BOTH_NIBBLES = 0x11


@dataclass(frozen=True)
class PackedSite:
    """Inputs and attributes of SparseMatMul that hold the weights.

    :param weight: uint8 [K, row_bytes]; in planes [2 K, row_bytes], the high ones first.
    :param scale: bytes of [G, n_padded] f16 or f32, uint8; empty for float weights.
    :param zero_point: uint8 [G · n_padded], or empty.
    :param sizes: N of each layer.
    :param planes: u8 and i8 in two planes of nibbles, which `step` and `offset` join, uint8 [step groups · n_padded].
    :param step_group: input channels that share a step; 0 without planes.
    :param room: of what has been packed just now: begins with `weight`, and has rows for all sections behind.
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
    room: np.ndarray | None = field(default=None, compare=False)

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


def pack_site(weights: Sequence[WeightMatrix], *, in_planes: bool = False, behind: Sequence[int] = ()) -> PackedSite:
    """Pack layers of one weight type.

    :param weights: all with the same K, type, group size, scale type, and with or without zero points alike.
    :param in_planes: u8 and i8 weights in two planes of nibbles.
    :param behind: bytes of the sections that will stand beside the site's own.
    """
    spec, sizes = weights[0].spec, tuple(w.n for w in weights)
    if spec.dtype in FLOATS:
        site = _with_room(PackedSite(spec.dtype, 0, "", sizes, _NONE, _NONE, _NONE), weights[0].k, behind)
        site.weight[:] = pack(np.concatenate([w.raw() for w in weights]), spec.dtype)
        return site
    scale_type = packed_scale_type(spec.scale_dtype)
    scale = _rows([w.scale for w in weights if w.scale is not None]).astype(np.float16 if scale_type == "f16" else np.float32)
    zero = _NONE
    if spec.has_zero_point:
        zero = (_rows([w.zero_point for w in weights if w.zero_point is not None]) + _OFFSET[spec.dtype]).astype(np.uint8).reshape(-1)
    site = PackedSite(spec.dtype, spec.group_size, scale_type, sizes, _NONE, scale.reshape(-1).view(np.uint8), zero)
    if in_planes:
        return _in_planes(site, _in_bytes(weights), weights[0].k, behind)
    site = _with_room(site, weights[0].k, behind)
    if native.library() is None:
        site.weight[:] = pack(np.concatenate([w.raw() for w in weights]), spec.dtype)
    else:
        native.pack_into(_stored(weights), spec.bits, site.weight)
    return site


def split_site(site: PackedSite) -> PackedSite:
    """A packed site of u8 or i8 weights in two planes instead."""
    return _in_planes(site, [unpack(site.weight, site.weight_type, sum(site.sizes))], site.k, ())


def _in_planes(site: PackedSite, parts: Sequence[np.ndarray], k: int, behind: Sequence[int]) -> PackedSite:
    """The site with its weights in planes.

    :param parts: of the layers, [N, K] as stored.
    """
    group = planes.step_group(site.group_size, k)
    found = [planes.search(part, group) for part in parts]
    step, offset = (np.concatenate(each) for each in zip(*found, strict=True))
    site = replace(site, planes=True, step_group=group, step=_rows([step]).reshape(-1), offset=_rows([offset]).reshape(-1))
    site = _with_room(site, k, behind)
    if native.library() is None:
        split = planes.split(np.concatenate(parts), group)
        site.weight[:] = np.concatenate([pack(split.high, "u4"), pack(split.low, "u4")])
    else:
        native.pack_planes_into(native.Stored(parts, 8, _OFFSET[site.weight_type]), group, step, offset, site.weight)
    return site


def _with_room(site: PackedSite, k: int, behind: Sequence[int]) -> PackedSite:
    """The site with memory for its weight, and for all sections behind it: nothing is copied once more."""
    row_bytes = packed_row_bytes("u4" if site.planes else site.weight_type, sum(site.sizes))
    rows = 2 * k if site.planes else k
    sections = [site.scale.size, site.zero_point.size, site.step.size, site.offset.size, *behind]
    room = aligned_empty((rows + rows_of(sections, row_bytes), row_bytes))
    return replace(site, room=room, weight=room[:rows])


def _stored(weights: Sequence[WeightMatrix]) -> native.Stored:
    """The integers of layers as the library packs them: two 4-bit ones in a byte where rows are stored so, else one."""
    offset = _OFFSET[weights[0].spec.dtype]
    pairs = [weight.nibbles() for weight in weights]
    if all(each is not None for each in pairs):
        return native.Stored([each for each in pairs if each is not None], 4, offset * _IN_BOTH_NIBBLES)
    return native.Stored(_in_bytes(weights), 8, offset)


def _in_bytes(weights: Sequence[WeightMatrix]) -> list[np.ndarray]:
    """The integers of layers, [N, K] each, whose rows are contiguous."""
    raw = (weight.raw() for weight in weights)
    return [each if each.strides[1] == 1 else np.ascontiguousarray(each) for each in raw]


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
