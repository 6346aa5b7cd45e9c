"""The same bits from any number of threads, whichever way a call is cut up."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_library import run, runnable
from random_operands import random_operands

# Long rows (columns are split), short rows (kept channels are split), a prompt (columns and rows are split).
CALLS = [(512, [9000], 1), (3000, [576], 1), (3000, [1024, 256], 4), (600, [3000], 40), (512, [300], 200), (576, [576, 640], 130)]


@pytest.mark.parametrize("implementation", runnable())
@pytest.mark.parametrize("weight_type", ["u4", "i8", "f16", "planes"])
@pytest.mark.parametrize("call", range(len(CALLS)))
def test_bits_do_not_depend_on_threads(implementation: str, weight_type: str, call: int) -> None:
    k, sizes, m = CALLS[call]
    if implementation == "scalar":
        sizes, m = [-(-size // 4) for size in sizes], -(-m // 4)
    for quantize in (True, False):
        graded = {"group_size": None, "step_group": 64, "half": 0.3} if weight_type == "planes" else {"group_size": 64}
        o = random_operands(
            k,
            sizes,
            "i8" if graded["group_size"] is None else weight_type,
            m=m,
            rows="all",
            dynamic_quantization=quantize,
            added=True,
            **graded,
        )
        one = run(o, implementation, 1)
        for threads in (2, 4):
            np.testing.assert_array_equal(run(o, implementation, threads), one)
