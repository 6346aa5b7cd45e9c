"""Nodes between a site and its layers: those that keep the channels, and no others."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from scap_ov.passes.rules.passthrough import carries_channels


def x(*shape):
    return ops.parameter(ov.PartialShape(list(shape)), np.float32)


def _cases():
    return {
        "convert": (ops.convert(x(-1, 8), np.float16), True),
        "convert from integers": (ops.convert(ops.parameter([2, 8], np.int64), np.float32), False),
        "reshape of leading dimensions": (ops.reshape(x(-1, -1, 8), np.array([-1, 8]), special_zero=False), True),
        "reshape that splits channels": (ops.reshape(x(-1, 8), np.array([0, 2, 4]), special_zero=True), False),
        "reshape that joins channels": (ops.reshape(x(-1, 2, 4), np.array([0, 8]), special_zero=True), False),
        "reshape of unknown channels": (ops.reshape(x(-1, -1), ops.parameter([2], np.int64), special_zero=False), False),
        "squeeze": (ops.squeeze(x(1, 5, 8), np.array([0])), True),
        "unsqueeze": (ops.unsqueeze(x(5, 8), np.array([0])), True),
        "unsqueeze behind the channels": (ops.unsqueeze(x(5, 8), np.array([2])), False),
        "scalar": (ops.reshape(ops.constant(np.float32(1)), np.array([1]), special_zero=False), False),
        "add": (ops.add(x(5, 8), np.float32(1)), False),
    }


@pytest.mark.parametrize("case", _cases())
def test_carries_channels(case):
    node, expected = _cases()[case]
    assert carries_channels(node) is expected
