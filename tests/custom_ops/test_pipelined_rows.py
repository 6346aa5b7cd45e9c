"""Dense steps of few rows on AMD, multiplied while the weight is unpacked: product, bits, exactness, bad x (ADR 0062)."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_library import error_beside_stock, run, runnable
from random_operands import dense_operands
from reference import Operands, sparse_matmul, tolerance

ISA = "avx512_zen4"
pytestmark = pytest.mark.skipif(ISA not in runnable(), reason="the CPU has no AVX-512 with VNNI")

# Input channels, columns, group of the weight's scale (none: an output channel has one), step group of planes, weights, rows of x. Groups
# of one block, of some, and a short last one; a last single block; strips of one block and of several; fewer input channels than are
# prefetched ahead; rows that are one register, and as many as come here.
CASES = [
    (1024, 1080, 128, None, "u4", 5),
    (4096, 200, 64, None, "i4", 3),
    (512, 4200, 32, None, "i4", 16),
    (128, 16570, 64, None, "i4", 13),
    (1120, 700, 256, None, "u4", 31),
    (1024, 1080, None, None, "u8", 9),
    (2112, 570, None, None, "i8", 23),
    (128, 8250, None, None, "u8", 13),
    (32, 8250, None, None, "u8", 5),
    (64, 8250, None, None, "i8", 2),
    (4096, 64, None, None, "u8", 63),
    (1024, 1080, None, 64, "u8", 16),
    (2112, 940, None, 32, "i8", 23),
    (128, 8250, None, 32, "u8", 7),
    (160, 16300, None, 128, "i8", 16),
    (1024, 60, None, 64, "u8", 63),
]


def operands(case: tuple, x_dtype: type = np.float32) -> Operands:
    k, n, group, step_group, weight_type, m = case
    return dense_operands(k, n, weight_type, most=1, m=m, group_size=group, step_group=step_group, seed=m, x_dtype=x_dtype)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_product_and_its_bits(case: tuple) -> None:
    """Any number of threads gives the same bits, and any place of the weight in memory."""
    o = operands(case, np.float16 if case[5] == 13 else np.float32)
    one = run(o, ISA)
    assert (np.abs(one.astype(np.float64) - sparse_matmul(o)) <= tolerance(o)).all()
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(run(o, ISA, threads, misalign=16), one)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_exact_as_stock(case: tuple) -> None:
    """Values of x share a scale in 32s, of nibbles too (ADR 0052)."""
    assert error_beside_stock(operands(case), ISA) <= 1.01


@pytest.mark.parametrize("case", [CASES[0], CASES[5], CASES[11]], ids=str)
def test_nan_and_infinity_reach_their_row_and_no_other(case: tuple) -> None:
    o = operands(case)
    o.x[1, 70], o.x[3, 0] = np.nan, np.inf
    finite = np.isfinite(run(o, ISA, 2))
    assert not finite[[1, 3]].any()
    assert np.delete(finite, [1, 3], axis=0).all()


@pytest.mark.parametrize("case", [CASES[2], CASES[6], CASES[12]], ids=str)
def test_a_row_does_not_depend_on_its_neighbours(case: tuple) -> None:
    o = operands(case)
    every = run(o, ISA, 2)
    o.x = np.ascontiguousarray(o.x[6:])
    np.testing.assert_array_equal(run(o, ISA, 2), every[6:])
