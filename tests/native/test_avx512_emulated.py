"""AVX-512 and AMX kernels where the CPU lacks them: SIMDe (Debian: libsimde-dev) and simde/amx.h emulate the intrinsics.

The library is built once, for these tests and the sweep of tests/reliability.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from experts_reference import sparse_experts
from kernel_builds import EMULATED, emulated_library
from kernel_library import run
from random_experts import random_experts
from random_experts import run as run_experts
from random_operands import dense_operands, random_operands
from reference import OFFSETS, sparse_matmul, tolerance

from scap_ov.custom_ops.formats import WEIGHT_TYPES
from scap_ov.passes.openvino.experts_op import ACTIVATIONS


@pytest.fixture(scope="module")
def emulated() -> Path:
    library = emulated_library()
    if library is None:
        pytest.skip("SIMDe is not installed (libsimde-dev); AVX-512 kernels are not run")
    return library


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("isa", EMULATED)
def test_emulated_kernels_agree_with_the_reference(
    emulated: Path, monkeypatch: pytest.MonkeyPatch, isa: str, weight_type: str, quantize: bool
) -> None:
    if quantize and weight_type not in OFFSETS:
        pytest.skip("float weights are not multiplied by int8")
    if isa == "avx512_amx" and not quantize:
        pytest.skip("without int8 activations AMX runs what AVX-512 runs")
    monkeypatch.setenv("SCAP_OV_EXTENSION", str(emulated))
    shapes = [(200, [65, 63]), (97, [130]), (128, [192, 64]), (64, [1])]
    for number, (k, sizes) in enumerate(shapes):
        for m, group_size in ((1, 32), (2, None), (13, 64), (37, None)):
            x_dtype, scale_dtype = (np.float16, np.float32)[m % 2], (np.float16, np.float32)[number % 2]
            o = random_operands(k, sizes, weight_type, m=m, group_size=group_size, seed=number, scale_dtype=scale_dtype, rows="all",
                                x_dtype=x_dtype, added=m > 1, per_channel=m == 2, dynamic_quantization=quantize)  # fmt: skip
            error, allowed = np.abs(run(o, isa, 2) - sparse_matmul(o)), tolerance(o)
            row, column = np.unravel_index(np.argmax(error / allowed), error.shape)
            assert (error <= allowed).all(), f"K={k} N={sizes} M={m}: y[{row}, {column}] is {error[row, column]:.3g} off"


@pytest.mark.parametrize(("weight_type", "step_group"), [("u8", None), ("u8", 64), ("u4", None)])
def test_emulated_pipelined_rows_agree_with_the_reference(
    emulated: Path, monkeypatch: pytest.MonkeyPatch, weight_type: str, step_group: int | None
) -> None:
    """Weights of 128 KB and more, whose input channels are a multiple of 32."""
    monkeypatch.setenv("SCAP_OV_EXTENSION", str(emulated))
    group_size = 64 if weight_type == "u4" else None
    o = dense_operands(512, 580, weight_type, most=4, m=6, group_size=group_size, step_group=step_group, seed=1)
    assert (np.abs(run(o, "avx512_zen4", 2) - sparse_matmul(o)) <= tolerance(o)).all()


@pytest.mark.parametrize("isa", EMULATED)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_emulated_experts_agree_with_the_reference(emulated: Path, monkeypatch: pytest.MonkeyPatch, isa: str, activation: str) -> None:
    monkeypatch.setenv("SCAP_OV_EXTENSION", str(emulated))
    for tokens in (1, 20):
        o = random_experts("i4", tokens=tokens, activation=activation, alpha=1.7, limit=2.0, dynamic_quantization=True)
        expected, allowed = sparse_experts(o)
        assert (np.abs(run_experts(o, isa, 2) - expected) <= allowed).all()


@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("isa", EMULATED)
def test_emulated_kernels_read_planes_as_the_reference(emulated: Path, monkeypatch: pytest.MonkeyPatch, isa: str, quantize: bool) -> None:
    monkeypatch.setenv("SCAP_OV_EXTENSION", str(emulated))
    for number, (k, sizes) in enumerate([(200, [65, 63]), (97, [130]), (128, [192, 64])]):
        for m, step_group, half in ((1, 128, 0.5), (3, 32, 0.3), (20, 64, 0.4)):
            weight_type = ("u8", "i8")[number % 2]
            o = random_operands(k, sizes, weight_type, m=m, step_group=step_group, half=half, sparsity=0.2, seed=number, rows="all",
                                added=m > 1, per_channel=m == 3, dynamic_quantization=quantize)  # fmt: skip
            error, allowed = np.abs(run(o, isa, 2) - sparse_matmul(o)), tolerance(o)
            row, column = np.unravel_index(np.argmax(error / allowed), error.shape)
            assert (error <= allowed).all(), f"K={k} N={sizes} M={m}: y[{row}, {column}] is {error[row, column]:.3g} off"


def test_emulated_avx512_lets_nan_through_and_drops_everything(emulated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCAP_OV_EXTENSION", str(emulated))
    o = random_operands(128, [64], "i8", group_size=64, dynamic_quantization=True, added=True)
    o.threshold[:] = 1e9
    np.testing.assert_array_equal(run(o, "avx512_vnni")[0], o.base + o.compensation)
    o.x[0, 3] = np.nan
    assert np.isnan(run(o, "avx512_vnni")).all()
