"""Gradients of OpenVINO graphs against central differences."""

import numpy as np
import openvino as ov
import pytest
from gradient_check import RNG, check, parameter
from openvino import opset13 as ops

from scap_ov.errors import BadModelError
from scap_ov.gradients.gradient import gradients


def test_attention_with_heads_and_a_mask():
    mask = np.where(np.tri(5, dtype=bool), 0, -np.inf).astype(np.float32)[None, None]
    shape, size = [-1, 3, -1, 8], (1, 3, 5, 8)
    check(lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, ops.constant(mask)), [(shape, size)] * 3)


def test_attention_whose_queries_share_one_head_of_keys_and_values():
    one = [-1, 1, -1, 8], (1, 1, 5, 8)
    check(ops.scaled_dot_product_attention, [([-1, 3, -1, 8], (1, 3, 5, 8)), one, one])


def test_rotary_embedding():
    def build(x):
        heads = ops.transpose(ops.reshape(x, np.array([0, 0, 3, 8]), special_zero=True), np.array([0, 2, 1, 3]))
        angle = ops.constant(RNG.standard_normal((1, 1, 5, 8)).astype(np.float32))
        first = ops.slice(heads, np.array([0]), np.array([4]), np.array([1]), np.array([3]))
        second = ops.slice(heads, np.array([4]), np.array([2**31 - 1]), np.array([1]), np.array([3]))
        turned = ops.concat([ops.multiply(second, ops.constant(np.float32(-1))), first], -1)
        return ops.add(ops.multiply(heads, ops.cos(angle)), ops.multiply(turned, ops.sin(angle)))

    check(build, [([-1, -1, 24], (1, 5, 24))])


def test_heads_that_are_shared_and_a_cache_before_them():
    def build(x):
        past = ops.constant(np.zeros((1, 2, 0, 4), np.float32))
        grown = ops.unsqueeze(ops.concat([past, x], -2), np.array(2))
        shape = ops.concat(
            [
                ops.shape_of(ops.squeeze(ops.gather(ops.shape_of(x), np.array([0]), np.array(0)), np.array([0]))),
                ops.gather(ops.shape_of(x), np.array([0, 1]), np.array(0)),
            ],
            0,
        )
        del shape
        wide = ops.broadcast(grown, ops.constant(np.array([1, 1, 3, 1, 1])), broadcast_spec="BIDIRECTIONAL")
        return ops.reshape(wide, np.array([0, 6, -1, 4]), special_zero=True)

    check(build, [([-1, 2, -1, 4], (1, 2, 5, 4))])


def test_norm():
    def build(x):
        variance = ops.reduce_mean(ops.power(x, ops.constant(np.float32(2))), np.array([-1]), keep_dims=True)
        root = ops.sqrt(ops.add(variance, ops.constant(np.float32(1e-5))))
        normed = ops.multiply(x, ops.divide(ops.constant(np.float32(1)), root))
        return ops.multiply(normed, ops.constant(RNG.standard_normal(6).astype(np.float32)))

    check(build, [([-1, -1, 6], (1, 4, 6))])


@pytest.mark.parametrize(
    "build",
    [
        lambda x: ops.multiply(ops.swish(x), ops.sigmoid(x)),
        lambda x: ops.gelu(x, "ERF"),
        lambda x: ops.subtract(ops.tanh(x), ops.negative(x)),
        lambda x: ops.softmax(x, -1),
        lambda x: ops.matmul(x, ops.constant(RNG.standard_normal((5, 6)).astype(np.float32)), False, True),
        lambda x: ops.matmul(x, ops.constant(RNG.standard_normal((6, 6)).astype(np.float32)), False, True),
        lambda x: ops.mvn(x, np.array([-1]), True, 1e-5, "inside_sqrt"),
        lambda x: ops.concat(list(ops.split(x, np.array(2), 3).outputs())[::-1], 2),
        lambda x: ops.select(ops.greater(x, ops.constant(np.float32(0))), ops.multiply(x, x), x),
    ],
    ids=["swish", "gelu", "tanh", "softmax", "matmul", "square matmul", "layer norm", "split", "select"],
)
def test_operation(build):
    check(build, [([-1, -1, 6], (1, 4, 6))])


def test_an_operation_without_a_rule_is_named():
    x = parameter([2, 3], "x")
    result = ops.cum_sum(x, np.array(0))
    model = ov.Model([result.output(0)], [x])
    with pytest.raises(BadModelError, match=r"the operation CumSum .* has no gradient rule"):
        gradients(model.get_ordered_ops(), [(result.output(0), result.output(0))], [x.output(0)])
