"""Gradients of parts that are taken out of a tensor: wherever they begin, however long axes are."""

import numpy as np
import openvino as ov
import pytest
from gradient_check import check, parameter
from openvino import opset13 as ops

from scap_ov.errors import BadModelError
from scap_ov.gradients.gradient import gradients


def cut(x, start, stop, axis, step=1):
    return ops.slice(x, start, np.array([stop]), np.array([step]), np.array([axis]))


def half_of(x):
    """Where the second half of the last axis begins, as exports of GPT-NeoX compute it; known at run time only."""
    return ops.divide(ops.gather(ops.shape_of(x), np.array([-1]), np.array(0)), np.array([2]))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: cut(x, np.array([2]), 2**31 - 1, 2),
        lambda x: cut(x, np.array([-3]), -1, 1),
        lambda x: cut(x, half_of(x), 2**31 - 1, -1),
        lambda x: cut(x, np.array([-100]), 100, 1),
        lambda x: cut(x, np.array([1]), 2**31 - 1, 2, step=3),
        lambda x: ops.slice(x, np.array([1, -4]), np.array([3, -1]), np.array([1, 1]), np.array([1, 2])),
        lambda x: ops.gather(x, np.array([-1]), np.array(2)),
        lambda x: ops.gather(x, np.array([4, 0, -1]), np.array(-1)),
        lambda x: ops.gather(x, np.array(3), np.array(2)),
    ],
    ids=["tail", "from the end", "computed", "beyond", "every third", "two axes", "last", "several", "a number"],
)
def test_part(build):
    check(build, [([-1, -1, 6], (2, 5, 6))])


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda x: ops.gather(x, np.array([1, 1]), np.array(2)), "looks an entry up twice"),
        (lambda x: ops.gather(x, np.array([1]), np.array(1)), "whose length is not known"),
        (lambda x: cut(x, np.array([0]), 2**31 - 1, 1, step=2), "every few entries of another axis than the last"),
    ],
    ids=["twice", "unknown length", "another axis"],
)
def test_what_has_no_rule_is_told(build, why):
    x = parameter([-1, -1, 6], "x")
    y = build(x)
    model = ov.Model([y.output(0)], [x])
    with pytest.raises(BadModelError, match=why):
        gradients(model.get_ordered_ops(), [(y.output(0), y.output(0))], [x.output(0)])
