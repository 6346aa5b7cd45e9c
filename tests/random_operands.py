"""Random inputs of scap_ov::SparseMatMul, packed in numpy."""

from __future__ import annotations

import numpy as np
from reference import OFFSETS, Operands

from scap_ov.custom_ops.formats import COLUMN_BLOCK, pack, padded_columns
from scap_ov.custom_ops.formats.planes import split


def random_operands(
    k: int,
    output_sizes: list[int],
    weight_type: str,
    *,
    m: int = 1,
    group_size: int | None = None,
    sparsity: float | None = 0.5,
    seed: int = 0,
    zero_point: bool | None = None,
    scale_dtype: type = np.float16,
    x_dtype: type = np.float32,
    per_channel: bool = False,
    added: bool = False,
    step_group: int | None = None,
    half: float | None = None,
    **attributes: object,
) -> Operands:
    """Weights of a spread of about 1/√K; activations normal, with a few large ones as models have them.

    :param group_size: input channels per scale; None for one scale per output channel.
    :param sparsity: share of activations to drop; None: a negative threshold, which keeps everything.
    :param zero_point: None: the unsigned types have one.
    :param per_channel: a centre and a threshold for each input channel.
    :param added: with base and compensation.
    :param step_group: weights in two planes of nibbles, with this many input channels per step.
    :param half: with planes, share of activations whose channel is read by its high plane alone; None: no threshold for that.
    """
    rng = np.random.default_rng(seed)
    n = sum(output_sizes)
    x = rng.standard_normal((m, k)).astype(np.float32)
    x[rng.random((m, k)) < 0.01] *= 20
    x = x.astype(x_dtype)
    o = Operands(x, _random_weight(rng, n, k, weight_type), weight_type, output_sizes, **attributes)
    if step_group is not None:
        _split(o, rng, n, k, step_group)
    if weight_type in OFFSETS:
        o.group_size = k if group_size is None else group_size
        groups, n_padded = -(-k // o.group_size), padded_columns(n)
        middle = 8 if weight_type in ("u4", "i4") else 128
        o.scale = ((rng.random((groups, n_padded)) + 0.5) / (middle * np.sqrt(k))).astype(scale_dtype)
        if weight_type in ("u4", "u8") if zero_point is None else zero_point:
            o.zero_point = rng.integers(0, 2 * middle, (groups, n_padded), np.uint8)
    if per_channel:
        o.center = (rng.standard_normal(k) * 0.2).astype(np.float32)
    elif added:
        o.center = np.full(1, 0.1, np.float32)
    if sparsity is not None:
        z = np.abs(x.astype(np.float32) - o.center)
        o.threshold = (np.quantile(z, sparsity) * (rng.random(k) + 0.5 if per_channel else np.ones(1))).astype(np.float32)
    if half is not None:
        z = np.abs(x.astype(np.float32) - o.center)
        o.whole_threshold = (np.quantile(z, min((sparsity or 0) + half, 1)) * (rng.random(k) + 1 if per_channel else np.ones(1))).astype(
            np.float32
        )
    if added:
        o.base, o.compensation = rng.standard_normal((2, n)).astype(np.float32)
    return o


def dense_operands(k: int, n: int, weight_type: str, *, most: int, **options: object) -> Operands:
    """Two layers of n output channels in all whose channels are all kept, with int8 activations; more than `most` rows are dense."""
    sizes = [n // 2 - 5, n - n // 2 + 5]
    made = random_operands(k, sizes, weight_type, sparsity=None, dynamic_quantization=True, rows="decode", **options)
    made.max_sparse_rows = most
    return made


def _split(o: Operands, rng: np.random.Generator, n: int, k: int, step_group: int) -> None:
    """Weights in planes, of groups with ranges of every size: all equal, within 16, the whole of 8 bits."""
    groups = -(-k // step_group)
    spans = rng.choice([0, 3, 15, 16, 100, 255], (n, groups))
    low = (rng.random((n, groups)) * (256 - spans)).astype(np.int64)
    q = np.repeat(low, step_group, 1)[:, :k] + (rng.random((n, k)) * (np.repeat(spans, step_group, 1)[:, :k] + 1)).astype(np.int64)
    planes = split(q.astype(np.uint8), step_group)
    o.weight = np.concatenate([pack(planes.high, "u4"), pack(planes.low, "u4")])
    padding = ((0, 0), (0, padded_columns(n) - n))
    o.step, o.offset, o.step_group = np.pad(planes.step.T, padding), np.pad(planes.offset.T, padding), step_group


def _random_weight(rng: np.random.Generator, n: int, k: int, weight_type: str) -> np.ndarray:
    if weight_type in OFFSETS:
        low = -OFFSETS[weight_type]
        high = low + (16 if weight_type in ("u4", "i4") else 256)
        return pack(rng.integers(low, high, (n, k)).astype(np.int8 if low else np.uint8), weight_type)
    weight = (rng.standard_normal((n, k)) / np.sqrt(k)).astype(np.float32)
    if weight_type == "bf16":
        return pack((weight.view(np.uint32) >> 16).astype(np.uint16), weight_type)
    return pack(weight.astype(np.float16 if weight_type == "f16" else np.float32), weight_type)


assert COLUMN_BLOCK == 64, "reference.py reads blocks of 64 channels"
