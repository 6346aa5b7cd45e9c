"""The extension library through ctypes: one whole op with a named implementation and number of threads."""

from __future__ import annotations

import ctypes
import os

import numpy as np
import openvino as ov  # loads the libraries that ours is linked with
from reference import Operands, dense_weight, kept_values, sparse_matmul

from scap_ov.custom_ops import library_path


class _Args(ctypes.Structure):
    _fields_ = (
        ("x", ctypes.c_void_p),
        ("x_is_f16", ctypes.c_int32),
        ("m", ctypes.c_size_t),
        ("k", ctypes.c_size_t),
        ("n", ctypes.c_size_t),
        ("weight_type", ctypes.c_char_p),
        ("weight", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("scale_is_f16", ctypes.c_int32),
        ("zero_point", ctypes.c_void_p),
        ("group_size", ctypes.c_size_t),
        ("center", ctypes.c_void_p),
        ("center_size", ctypes.c_size_t),
        ("threshold", ctypes.c_void_p),
        ("threshold_size", ctypes.c_size_t),
        ("compensation", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("all_rows", ctypes.c_int32),
        ("max_sparse_rows", ctypes.c_size_t),
        ("positions", ctypes.c_size_t),
        ("dynamic_quantization", ctypes.c_int32),
        ("outputs", ctypes.POINTER(ctypes.c_void_p)),
        ("output_sizes", ctypes.POINTER(ctypes.c_size_t)),
        ("output_count", ctypes.c_size_t),
        ("ramp", ctypes.c_float),
        ("planes", ctypes.c_int32),
        ("step", ctypes.c_void_p),
        ("offset", ctypes.c_void_p),
        ("step_group", ctypes.c_size_t),
        ("whole_threshold", ctypes.c_void_p),
        ("whole_threshold_size", ctypes.c_size_t),
    )


def load() -> ctypes.CDLL:
    """The library that is in use."""
    assert ov.__version__, "OpenVINO's own libraries are in the process before ours is loaded"
    library = ctypes.CDLL(str(library_path()))
    for name in ("scap_ov_implementation_name", "scap_ov_format_name"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def implementations() -> dict[str, bool]:
    """Every implementation in the library, best first -> whether this CPU runs it."""
    library = load()
    count = library.scap_ov_implementation_count()
    return {library.scap_ov_implementation_name(i).decode(): bool(library.scap_ov_implementation_supported(i)) for i in range(count)}


def runnable() -> list[str]:
    """Names of the implementations to test here. SCAP_OV_REQUIRE_ISA (a comma list) names those that must be among them."""
    names = [name for name, runs in implementations().items() if runs]
    required = [name for name in os.environ.get("SCAP_OV_REQUIRE_ISA", "").split(",") if name]
    missing = [name for name in required if name not in names]
    if missing:
        msg = f"SCAP_OV_REQUIRE_ISA asks for {', '.join(missing)}; this CPU and library run {', '.join(names)}"
        raise RuntimeError(msg)
    return names


def run(o: Operands, implementation: str, threads: int = 1, *, misalign: int = 0) -> np.ndarray:
    """Outputs of one op, layers side by side: [M, N] of the type of x.

    :param misalign: bytes that every constant is moved away from its alignment.
    """
    keep_alive = []

    def pointer(array: np.ndarray | None) -> int | None:
        if array is None:
            return None
        raw = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        buffer = np.empty(raw.size + 64 + misalign, np.uint8)
        start = -buffer.ctypes.data % 64 + misalign
        buffer[start : start + raw.size] = raw
        keep_alive.append(buffer)
        return buffer.ctypes.data + start

    m, k = o.x.shape
    # guard values behind each output show a write past the end
    outputs = [np.full(m * size + 32, 12345, o.x.dtype) for size in o.output_sizes]
    args = _Args(
        x=pointer(o.x),
        x_is_f16=o.x.dtype == np.float16,
        m=m,
        k=k,
        n=o.n,
        weight_type=o.weight_type.encode(),
        weight=pointer(o.weight),
        scale=pointer(o.scale),
        scale_is_f16=o.scale is not None and o.scale.dtype == np.float16,
        zero_point=pointer(o.zero_point),
        group_size=o.group_size,
        center=pointer(o.center),
        center_size=o.center.size,
        threshold=pointer(o.threshold),
        threshold_size=o.threshold.size,
        compensation=pointer(o.compensation),
        base=pointer(o.base),
        all_rows=o.rows == "all",
        max_sparse_rows=o.max_sparse_rows,
        positions=o.positions,
        dynamic_quantization=o.dynamic_quantization,
        outputs=(ctypes.c_void_p * len(outputs))(*[y.ctypes.data for y in outputs]),
        output_sizes=(ctypes.c_size_t * len(outputs))(*o.output_sizes),
        output_count=len(outputs),
        ramp=o.ramp,
        planes=o.step is not None,
        step=pointer(o.step),
        offset=pointer(o.offset),
        step_group=o.step_group,
        whole_threshold=pointer(o.whole_threshold),
        whole_threshold_size=0 if o.whole_threshold is None else o.whole_threshold.size,
    )
    reason = ctypes.create_string_buffer(512)
    failed = load().scap_ov_sparse_matmul(ctypes.byref(args), implementation.encode(), threads, 1, reason, ctypes.c_size_t(len(reason)))
    if failed:
        raise RuntimeError(reason.value.decode())
    for y, size in zip(outputs, o.output_sizes, strict=True):
        assert (y[m * size :] == 12345).all(), "the op wrote past the end of an output"
    return np.concatenate([y[: m * size].reshape(m, size) for y, size in zip(outputs, o.output_sizes, strict=True)], axis=1)


def error_beside_stock(o: Operands, implementation: str) -> float:
    """Mean square error of y, relative to what stock OpenVINO's int8 activations in groups of 32 cost with the same weights."""
    exact, k = sparse_matmul(o), o.x.shape[1]
    groups = np.pad(kept_values(o), ((0, 0), (0, -k % 32))).reshape(len(o.x), -1, 32)
    scale = np.maximum(np.abs(groups).max(axis=2, keepdims=True), 1e-30) / 127
    rounded = (np.round(groups / scale) * scale).reshape(len(o.x), -1)[:, :k]
    stock = rounded.astype(np.float64) @ dense_weight(o)[0]
    return float(np.square(run(o, implementation) - exact).mean() / np.square(stock - exact).mean())
