"""Dense int4 of some rows and weights of a megabyte and more, which are read in the order of memory: product, bits, faults of x."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_library import run, runnable
from random_operands import random_operands
from reference import Operands, sparse_matmul, tolerance

IMPLEMENTATIONS = [name for name in runnable() if name in ("avx512_vnni", "avx2")]
# Input channels, columns, group size, weights, rows: narrow rows of the weight with a last single block and a short last group, middle
# ones, wide ones (strips of columns) with a last single block. Rows of one register block and of several.
SHAPES = [(1900, 1080, 128, "u4", 9), (520, 4200, 32, "i4", 16), (130, 16570, 64, "i4", 13)]


def operands(shape: int, x_dtype: type = np.float32) -> Operands:
    k, n, group_size, weight_type, m = SHAPES[shape]
    sizes = [n // 2 - 5, n - n // 2 + 5]
    return random_operands(
        k, sizes, weight_type, m=m, group_size=group_size, sparsity=None, dynamic_quantization=True, seed=m, x_dtype=x_dtype, rows="decode"
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_product_and_its_bits(implementation: str, shape: int) -> None:
    """Any number of threads gives the same bits."""
    o = operands(shape, np.float16 if shape == 1 else np.float32)
    one = run(o, implementation)
    assert (np.abs(one.astype(np.float64) - sparse_matmul(o)) <= tolerance(o)).all()
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(run(o, implementation, threads, misalign=16), one)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_nan_and_infinity_reach_their_row_and_no_other(implementation: str) -> None:
    o = operands(2)
    o.x[3, 70], o.x[12, 0] = np.nan, np.inf
    finite = np.isfinite(run(o, implementation, 2))
    assert not finite[[3, 12]].any()
    assert np.delete(finite, [3, 12], axis=0).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_row_does_not_depend_on_its_neighbours(implementation: str) -> None:
    """Sixteen rows are register blocks of another size than ten."""
    o = operands(1)
    every = run(o, implementation, 2)
    o.x = np.ascontiguousarray(o.x[6:])
    np.testing.assert_array_equal(run(o, implementation, 2), every[6:])
