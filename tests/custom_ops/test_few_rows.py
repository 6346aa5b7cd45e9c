"""Dense steps of some rows and weights of a megabyte and more, which are read in the order of memory: product, bits, exactness, bad x."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_library import error_beside_stock, run, runnable
from random_operands import dense_operands
from reference import Operands, sparse_matmul, tolerance

IMPLEMENTATIONS = [name for name in runnable() if name in ("avx512_amx", "avx512_vnni", "avx2")]
# Input channels, columns, group size, weights, rows: narrow rows of the weight with a last single block and a short last group, middle
# ones, wide ones (strips of columns) with a last single block. Rows of one register block and of several. Bytes with a scale for each
# output channel: square, tall and wide (of few and of more rows), with a last single block; and planes with 64 and 30 input channels for
# each step, square (of few and of more rows) and tall, wide, and tall of few rows. With AMX only planes come here, up to 16 rows at most.
SHAPES = [(1900, 1080, 128, "u4", 9), (520, 4200, 32, "i4", 16), (130, 16570, 64, "i4", 13)]
BYTES = [
    (1100, 1080, None, "u8", 9),
    (2100, 570, None, "i8", 23),
    (130, 8250, None, "u8", 13),
    (1100, 1080, 64, "u8", 16),
    (2100, 940, 30, "i8", 23),
    (140, 8250, 30, "u8", 7),
    (140, 16300, 128, "i8", 16),
    (130, 8250, None, "i8", 10),
    (2100, 540, 64, "u8", 5),
    (1100, 1080, 64, "i8", 19),
]


def operands(shape: int, x_dtype: type = np.float32) -> Operands:
    k, n, group, weight_type, m = (SHAPES + BYTES)[shape]
    of_bytes = shape >= len(SHAPES)
    return dense_operands(
        k,
        n,
        weight_type,
        most=4,
        m=m,
        group_size=None if of_bytes else group,
        step_group=group if of_bytes else None,
        seed=m,
        x_dtype=x_dtype,
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", range(len(SHAPES + BYTES)))
def test_product_and_its_bits(implementation: str, shape: int) -> None:
    """Any number of threads gives the same bits."""
    o = operands(shape, np.float16 if shape in (1, 4) else np.float32)
    one = run(o, implementation)
    assert (np.abs(one.astype(np.float64) - sparse_matmul(o)) <= tolerance(o)).all()
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(run(o, implementation, threads, misalign=16), one)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", range(len(SHAPES), len(SHAPES + BYTES)))
def test_bytes_are_as_exact_as_stock(implementation: str, shape: int) -> None:
    """Values of x share a scale in 32s (ADR 0052)."""
    assert error_beside_stock(operands(shape), implementation) <= 1.1


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", [2, 5, 7, 9])
def test_nan_and_infinity_reach_their_row_and_no_other(implementation: str, shape: int) -> None:
    o = operands(shape)
    o.x[3, 70], o.x[8, 0] = np.nan, np.inf
    finite = np.isfinite(run(o, implementation, 2))
    assert not finite[[3, 8]].any()
    assert np.delete(finite, [3, 8], axis=0).all()


@pytest.mark.parametrize("implementation", [name for name in IMPLEMENTATIONS if name != "avx512_amx"])
@pytest.mark.parametrize("shape", [1, 4, 6, 9])
def test_a_row_does_not_depend_on_its_neighbours(implementation: str, shape: int) -> None:
    """Sixteen rows are register blocks of another size than ten, and 23 than 17."""
    o = operands(shape)
    every = run(o, implementation, 2)
    o.x = np.ascontiguousarray(o.x[6:])
    np.testing.assert_array_equal(run(o, implementation, 2), every[6:])
