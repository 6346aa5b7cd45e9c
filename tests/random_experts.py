"""Random inputs of scap_ov::SparseExperts, and one op run through the library with a named implementation and number of threads."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from experts_reference import ExpertsOperands
from kernel_library import load
from random_operands import random_operands
from reference import Operands

from scap_ov.passes.openvino.experts_op import Stage, pack_stage
from scap_ov.passes.openvino.packed_sections import padded_size
from scap_ov.passes.openvino.packed_site import PackedSite


def random_experts(weight_type: str, *, tokens: int = 1, experts: int = 4, choices: int = 2, k: int = 96, hidden: int = 72, n: int = 80,
                   group_size: int | None = 32, step_group: int | None = None,
                   sparsity: float | None = 0.5, seed: int = 0, bias: bool = False, x_dtype: type = np.float32,
                   **attributes: Any) -> ExpertsOperands:  # fmt: skip
    """Experts of a spread as random_operands makes; every token goes to different experts, drawn evenly, with positive weights.

    :param step_group: weights in two planes of nibbles, with this many input channels per step; channels below twice the threshold are read
        by the high one alone.
    """
    rng = np.random.default_rng(seed)
    interleaved = attributes.get("gate_up") == "interleaved"
    common = {"group_size": group_size, "step_group": step_group, "sparsity": sparsity, "added": sparsity is not None}
    up = [
        random_operands(k, [2 * hidden] if interleaved else [hidden, hidden], weight_type, seed=seed + 2 * e, **common)
        for e in range(experts)
    ]
    down = [random_operands(hidden, [n], weight_type, seed=seed + 2 * e + 1, **common) for e in range(experts)]
    biases = {"up_bias": rng.standard_normal((experts, 2 * hidden)), "down_bias": rng.standard_normal((experts, n))} if bias else {}
    x = rng.standard_normal((tokens, k)).astype(x_dtype)
    ids = np.stack([rng.permutation(experts)[:choices] for _ in range(tokens)]) if tokens else np.zeros((0, choices), np.int64)
    routing = rng.random((tokens, choices)).astype(np.float32) + np.float32(0.1)
    for stage in (up, down):
        for expert in stage:
            expert.compensation = None  # folded into base
    if sparsity is not None:
        up[0].threshold[:] = 0.6745 * sparsity / 0.5
        down[0].threshold[:] = 0.1 * sparsity / 0.5  # products of a gate and an up are small
        down[0].center[:] = 0.01
        if step_group is not None:
            up[0].whole_threshold, down[0].whole_threshold = 2 * up[0].threshold, 2 * down[0].threshold
    return ExpertsOperands(x, ids, routing, up, down, **{name: b.astype(np.float32) for name, b in biases.items()}, **attributes)


def stage_of(weights: list[Operands], bias: np.ndarray) -> Stage:
    """The experts of one product, as the op is made from them."""
    base = np.stack([o.base for o in weights]) if weights[0].base is not None else np.zeros(0, np.float32)
    whole = weights[0].whole_threshold if weights[0].step is not None else None
    sites = [_site(o) for o in weights]
    return Stage(sites, weights[0].center, weights[0].threshold, base, bias, np.zeros(0, np.float32) if whole is None else whole)


def _site(o: Operands) -> PackedSite:
    def stored(values: np.ndarray | None) -> np.ndarray:
        return np.zeros(0, np.uint8) if values is None else np.ascontiguousarray(values).reshape(-1).view(np.uint8)

    scale_type = "" if o.scale is None else {"float16": "f16", "float32": "f32"}[str(o.scale.dtype)]
    weights = o.weight_type, o.group_size, scale_type, tuple(o.output_sizes), o.weight, stored(o.scale), stored(o.zero_point)
    return PackedSite(*weights, o.step is not None, o.step_group, stored(o.step), stored(o.offset))


class _Stage(ctypes.Structure):
    _fields_ = (
        ("weight_type", ctypes.c_char_p),
        ("packed", ctypes.c_void_p),
        ("stride", ctypes.c_size_t),
        ("k", ctypes.c_size_t),
        ("n", ctypes.c_size_t),
        ("group_size", ctypes.c_size_t),
        ("scale", ctypes.c_size_t),
        ("zero_point", ctypes.c_size_t),
        ("base", ctypes.c_size_t),
        ("step", ctypes.c_size_t),
        ("offset", ctypes.c_size_t),
        ("step_group", ctypes.c_size_t),
        ("scale_is_f16", ctypes.c_int32),
        ("bias", ctypes.c_void_p),
        ("center", ctypes.c_void_p),
        ("center_size", ctypes.c_size_t),
        ("threshold", ctypes.c_void_p),
        ("threshold_size", ctypes.c_size_t),
        ("whole_threshold", ctypes.c_void_p),
        ("whole_threshold_size", ctypes.c_size_t),
    )


class _Args(ctypes.Structure):
    _fields_ = (
        ("x", ctypes.c_void_p),
        ("x_is_f16", ctypes.c_int32),
        ("tokens", ctypes.c_size_t),
        ("ids", ctypes.c_void_p),
        ("ids_are_i64", ctypes.c_int32),
        ("routing", ctypes.c_void_p),
        ("experts", ctypes.c_size_t),
        ("choices", ctypes.c_size_t),
        ("up", _Stage),
        ("down", _Stage),
        ("interleaved", ctypes.c_int32),
        ("activation", ctypes.c_char_p),
        ("alpha", ctypes.c_float),
        ("limit", ctypes.c_float),
        ("all_rows", ctypes.c_int32),
        ("max_sparse_rows", ctypes.c_size_t),
        ("positions", ctypes.c_size_t),
        ("dynamic_quantization", ctypes.c_int32),
        ("output", ctypes.c_void_p),
    )


def run(o: ExpertsOperands, implementation: str, threads: int = 1) -> np.ndarray:
    """The output, [T, N] of the type of x.

    :raises RuntimeError: the library refuses it.
    """
    keep: list[np.ndarray] = []

    def pointer(array: np.ndarray, dtype: type) -> int | None:
        keep.append(np.ascontiguousarray(array, dtype))
        return keep[-1].ctypes.data if array.size else None

    stages = [_plain(stage_of(weights, bias), keep, pointer) for weights, bias in ((o.up, o.up_bias), (o.down, o.down_bias))]
    tokens, n = len(o.x), o.down[0].n
    y = np.full(tokens * n + 32, 12345, o.x.dtype)  # guard values behind the output show a write past the end
    args = _Args(
        x=pointer(o.x, o.x.dtype.type), x_is_f16=o.x.dtype == np.float16, tokens=tokens, ids=pointer(o.ids, o.ids.dtype.type),
        ids_are_i64=o.ids.dtype == np.int64,
        routing=pointer(o.routing, np.float32), experts=len(o.up), choices=o.ids.shape[1], up=stages[0], down=stages[1],
        interleaved=o.gate_up == "interleaved", activation=o.activation.encode(), alpha=o.alpha, limit=o.limit,
        all_rows=o.rows == "all", max_sparse_rows=o.max_sparse_rows, positions=o.positions, dynamic_quantization=o.dynamic_quantization,
        output=y.ctypes.data,
    )  # fmt: skip
    reason = ctypes.create_string_buffer(512)
    if load().scap_ov_sparse_experts(ctypes.byref(args), implementation.encode(), threads, reason, ctypes.c_size_t(len(reason))):
        raise RuntimeError(reason.value.decode())
    assert (y[tokens * n :] == 12345).all(), "the op wrote past the end of its output"
    return y[: tokens * n].reshape(tokens, n)


def _plain(stage: Stage, keep: list[np.ndarray], pointer: Any) -> _Stage:
    data, attributes = pack_stage(stage)
    keep.append(data)
    site, sections = stage.sites[0], attributes["sections"]
    starts = np.cumsum([site.weight.size, *(padded_size(size) for size in sections[:-1])])
    names = ("scale", "zero_point", "base", "step", "offset")
    offsets = {name: int(start) if size else 0 for name, start, size in zip(names, starts, sections, strict=True)}
    tail = sum(padded_size(size) for size in attributes["shared"])
    rows = (len(data) - -(-tail // data.shape[1])) // len(stage.sites)
    return _Stage(
        weight_type=site.weight_type.encode(), packed=data.ctypes.data, stride=rows * data.shape[1], k=site.k,
        n=sum(site.sizes), group_size=site.group_size, step_group=site.step_group, **offsets,
        scale_is_f16=site.scale_type == "f16", bias=pointer(stage.bias, np.float32),
        center=pointer(stage.center, np.float32), center_size=stage.center.size, threshold=pointer(stage.threshold, np.float32),
        threshold_size=stage.threshold.size, whole_threshold=pointer(stage.whole_threshold, np.float32),
        whole_threshold_size=stage.whole_threshold.size,
    )  # fmt: skip
