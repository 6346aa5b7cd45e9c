"""Up to 16 dense rows with AMX, whose weight is read along strips while the channels before are multiplied: product, bits, bad x."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_library import run, runnable
from random_operands import random_operands
from reference import Operands, sparse_matmul, tolerance

pytestmark = pytest.mark.skipif("avx512_amx" not in runnable(), reason="the CPU has no AMX")
# Input channels, columns, group size or None, weights, step group, rows: planes of less than a megabyte, for others of few rows go another
# way, in several strips with a last single block and a last step that is cut; two groups of planes; one group of a cut step; groups of an
# odd number of steps and a short last one; nibbles with groups of two steps, one and three.
SHAPES = [
    (160, 6200, None, "u8", 128, 8),
    (1152, 1080, None, "i8", 64, 16),
    (70, 4200, None, "u8", None, 9),
    (1300, 2900, None, "i8", None, 13),
    (450, 5000, 128, "u4", None, 16),
    (200, 1000, 64, "i4", None, 9),
    (400, 300, 192, "u4", None, 12),
]


def operands(shape: int, x_dtype: type = np.float32) -> Operands:
    k, n, group, weight_type, step_group, m = SHAPES[shape]
    attributes = {"dynamic_quantization": True, "rows": "decode"}
    sizes = [n // 2 - 5, n - n // 2 + 5]
    return random_operands(
        k, sizes, weight_type, m=m, group_size=group, step_group=step_group, sparsity=None, seed=m, x_dtype=x_dtype, **attributes
    )


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_product_and_its_bits(shape: int) -> None:
    """Within what two digits of x allow; any number of threads, and weights that begin anywhere, give the same bits."""
    o = operands(shape, np.float16 if shape == 1 else np.float32)
    one = run(o, "avx512_amx")
    assert (np.abs(one.astype(np.float64) - sparse_matmul(o)) <= tolerance(o, two_digits=True)).all()
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(run(o, "avx512_amx", threads, misalign=16), one)


@pytest.mark.parametrize("shape", [0, 4])
def test_a_row_does_not_depend_on_its_neighbours(shape: int) -> None:
    """Neither on their number nor on what they hold, infinity and NaN among it."""
    o = operands(shape)
    every = run(o, "avx512_amx", 2)
    o.x[0, 3], o.x[1, 9] = np.nan, np.inf
    np.testing.assert_array_equal(run(o, "avx512_amx", 2)[2:], every[2:])
    o.x = np.ascontiguousarray(o.x[2:])
    np.testing.assert_array_equal(run(o, "avx512_amx", 2), every[2:])
