"""What threads read ahead between two calls changes no bit, in steps that repeat, change their order, or lose a weight on the way."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from kernel_library import run
from random_operands import random_operands

from scap_ov.custom_ops.library import implementation

SHAPES = [(576, [576, 192]), (1536, [576]), (64, [16000])]  # parts of the kept channels twice, and columns


def step(operands: list) -> list[np.ndarray]:
    return [run(o, implementation(), 2) for o in operands]


@pytest.mark.parametrize("weight_type", ["u4", "i8", "planes"])
def test_steps_of_several_models(weight_type: str) -> None:
    graded = {"group_size": None, "step_group": 32, "half": 0.3} if weight_type == "planes" else {"group_size": 32}
    kind = "i8" if weight_type == "planes" else weight_type
    operands = [random_operands(k, sizes, kind, m=1, rows="all", **graded) for k, sizes in SHAPES]
    alone = [run(o, implementation(), 1) for o in operands]
    for order in ([0, 1, 2], [0, 1, 2], [2, 1, 0], [0, 0, 1]):
        for got, which in zip(step([operands[i] for i in order]), order, strict=True):
            np.testing.assert_array_equal(got, alone[which])
    del operands[1]
    gc.collect()
    for got, which in zip(step(operands * 2), (0, 2, 0, 2), strict=True):
        np.testing.assert_array_equal(got, alone[which])
