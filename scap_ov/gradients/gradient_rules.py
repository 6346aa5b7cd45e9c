"""Derivatives of the operations that transformers are made of, written as OpenVINO operations.

A rule takes a node, the gradient of its first output and which inputs need one, and gives the gradient of each input (None where
there is none). What comparisons and shapes depend on has no gradient. A new operation is a function here and a line in RULES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.errors import BadModelError
from scap_ov.gradients import routing_rules as routing
from scap_ov.gradients import stretches
from scap_ov.gradients.attention_gradient import attention
from scap_ov.gradients.norm_gradient import layer_norm
from scap_ov.gradients.operands import constant_input, like, refuse

Gradients = Sequence["ov.Output | None"]
Rule = Callable[[ov.Node, ov.Output, Sequence[bool]], Gradients]

FLAT = frozenset(
    ("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual", "ShapeOf", "LogicalAnd", "LogicalOr", "LogicalNot", "ReadValue",
     "Assign", "Range", "Floor", "Round", "Sign", "BitwiseAnd", "BitwiseOr", "BitwiseNot")
)  # fmt: skip


def fit_to(gradient: ov.Output, target: ov.Output) -> ov.Output:
    """Sum a gradient over the axes along which its tensor was broadcast.

    Axes whose length is known only at run time are taken not to be broadcast.
    """
    got, wanted = gradient.get_partial_shape(), target.get_partial_shape()
    if got.rank.is_dynamic or wanted.rank.is_dynamic:
        msg = f"the gradient of {target.get_node().get_friendly_name()} needs its rank; export the model with ranks that are known"
        raise BadModelError(msg)
    lead = len(got) - len(wanted)
    if lead > 0:
        gradient = ops.reduce_sum(gradient, np.arange(lead), keep_dims=False).output(0)
        got = gradient.get_partial_shape()
    axes = [i for i, d in enumerate(wanted) if d.is_static and d.get_length() == 1 and not (got[i].is_static and got[i].get_length() == 1)]
    return ops.reduce_sum(gradient, np.array(axes), keep_dims=True).output(0) if axes else gradient


def add(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of x + y."""
    return [fit_to(g, node.input_value(i)) if need[i] else None for i in (0, 1)]


def subtract(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of x − y."""
    y = fit_to(ops.negative(g).output(0), node.input_value(1)) if need[1] else None
    return [fit_to(g, node.input_value(0)) if need[0] else None, y]


def multiply(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of x · y."""
    x, y = node.input_values()
    return [fit_to(ops.multiply(g, other).output(0), own) if n else None for own, other, n in ((x, y, need[0]), (y, x, need[1]))]


def divide(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of x / y."""
    x, y = node.input_values()
    first = ops.divide(g, y)
    second = fit_to(ops.negative(ops.multiply(first, node.output(0))).output(0), y) if need[1] else None
    return [fit_to(first.output(0), x) if need[0] else None, second]


def power(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of x to a power that is not differentiated."""
    x, exponent = node.input_values()
    less = ops.power(x, ops.subtract(exponent, like(1.0, exponent)))
    return [fit_to(ops.multiply(g, ops.multiply(exponent, less)).output(0), x) if need[0] else None, None]


def square_root(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """√x."""
    del need
    return [ops.divide(ops.multiply(g, like(0.5, g)), node.output(0)).output(0)]


def negative(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """−x."""
    del node, need
    return [ops.negative(g).output(0)]


def sigmoid(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """1 / (1 + e^−x)."""
    del need
    y = node.output(0)
    return [ops.multiply(g, ops.multiply(y, ops.subtract(like(1.0, y), y))).output(0)]


def tanh(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Hyperbolic tangent."""
    del need
    y = node.output(0)
    return [ops.multiply(g, ops.subtract(like(1.0, y), ops.multiply(y, y))).output(0)]


def relu(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """max(x, 0)."""
    del need
    y = node.output(0)
    return [ops.select(ops.greater(y, like(0.0, y)), g, like(0.0, g)).output(0)]


def swish(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of x · sigmoid(βx)."""
    del need
    x = node.input_value(0)
    beta = node.input_value(1) if node.get_input_size() > 1 else like(1.0, x).output(0)
    s = ops.sigmoid(ops.multiply(x, beta))
    slope = ops.add(s, ops.multiply(ops.multiply(beta, node.output(0)), ops.subtract(like(1.0, x), s)))
    return [ops.multiply(g, slope).output(0), *([None] * (node.get_input_size() - 1))]


def gelu(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Of x · Φ(x); the tanh form has a derivative within 1e-3 of this one."""
    del need
    x = node.input_value(0)
    half = ops.multiply(like(0.5, x), ops.add(like(1.0, x), ops.erf(ops.multiply(x, like(2**-0.5, x)))))
    bell = ops.exp(ops.multiply(like(-0.5, x), ops.multiply(x, x)))
    density = ops.multiply(like((2 * np.pi) ** -0.5, x), bell)
    return [ops.multiply(g, ops.add(half, ops.multiply(x, density))).output(0)]


def softmax(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Softmax along one axis."""
    del need
    y = node.output(0)
    axis = np.array([node.get_attributes()["axis"]])
    weighted = ops.multiply(g, y)
    return [ops.subtract(weighted, ops.multiply(y, ops.reduce_sum(weighted, axis, keep_dims=True))).output(0)]


def matmul(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """A · B, either of them transposed."""
    a, b = node.input_values()
    attributes = node.get_attributes()
    ta, tb = attributes["transpose_a"], attributes["transpose_b"]
    first = second = None
    if need[0]:
        weight = b if need[1] else _unfused(b, g)
        made = ops.matmul(weight, g, tb, True) if ta else ops.matmul(g, weight, False, not tb)
        first = fit_to(made.output(0), a)
    if need[1]:
        made = ops.matmul(g, a, True, ta) if tb else ops.matmul(a, g, not ta, False)
        second = fit_to(made.output(0), b)
    return [first, second]


def reshape_back(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Reshape, Squeeze and Unsqueeze: the input's own shape again."""
    del need
    back = ops.reshape(g, ops.shape_of(node.input_value(0)), special_zero=False)
    return [back.output(0), *([None] * (node.get_input_size() - 1))]


def transpose(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """The inverse order of axes."""
    del need
    return [ops.transpose(g, np.argsort(constant_input(node, 1))).output(0), None]


def concat(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Each input's own stretch."""
    axis = np.array([node.get_attributes()["axis"]])
    start: ov.Node = ops.constant(np.array([0], np.int64))
    made: list[ov.Output | None] = []
    for index, value in enumerate(node.input_values()):
        end = ops.add(start, ops.gather(ops.shape_of(value), axis, np.array(0)))
        made.append(ops.slice(g, start, end, np.array([1]), axis).output(0) if need[index] else None)
        start = end
    return made


def slice_back(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """A stretch of step 1, wherever it begins: zeros around it; or every few of the last axis."""
    del need
    rank, step = len(node.get_input_partial_shape(0)), constant_input(node, 3)
    axes = constant_input(node, 4) if node.get_input_size() > 4 else np.arange(len(step))
    if (step == 1).all():
        return [stretches.around(node, g, axes), *([None] * (node.get_input_size() - 1))]
    begin = constant_input(node, 1)
    if list(axes) not in ([rank - 1], [-1]) or step[0] < 1 or not 0 <= begin[0] < step[0]:
        refuse(node, "takes every few entries of another axis than the last, or backwards")
    return [stretches.every_second(node, g, int(begin[0]), int(step[0])), *([None] * (node.get_input_size() - 1))]


def gather(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Entries at fixed places of an axis of known length: back to their places, zeros elsewhere."""
    axis, places = int(constant_input(node, 2).reshape(-1)[0]), constant_input(node, 1)
    length = node.get_input_partial_shape(0)[axis]
    if need[1] or places.ndim > 1 or length.is_dynamic:
        refuse(node, "looks up at places in several dimensions, or along an axis whose length is not known")
    chosen = places.reshape(-1) % length.get_length()
    if len(set(chosen.tolist())) < len(chosen):
        refuse(node, "looks an entry up twice")
    return [stretches.put_back(node, g, axis, chosen), None, None]


def broadcast(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """The sum of the copies."""
    del need
    return [fit_to(g, node.input_value(0)), *([None] * (node.get_input_size() - 1))]


def reduce_mean(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """A mean along axes of known length that are kept as 1."""
    del need
    x = node.input_value(0)
    axes = constant_input(node, 1).reshape(-1)
    shape = x.get_partial_shape()
    if not node.get_attributes()["keep_dims"] or any(shape[int(a)].is_dynamic for a in axes):
        refuse(node, "averages over an axis that it drops or whose length is not known")
    count = float(np.prod([shape[int(a)].get_length() for a in axes]))
    even = ops.multiply(g, like(1 / count, g))
    return [ops.broadcast(even, ops.shape_of(x), broadcast_spec="BIDIRECTIONAL").output(0), None]


def convert(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """The input's type again."""
    del need
    return [ops.convert(g, node.get_input_element_type(0).get_type_name()).output(0)]


def select(node: ov.Node, g: ov.Output, need: Sequence[bool]) -> Gradients:
    """Each branch where it was taken."""
    condition, then, other = node.input_values()
    zero = like(0.0, g)
    return [
        None,
        fit_to(ops.select(condition, g, zero).output(0), then) if need[1] else None,
        fit_to(ops.select(condition, zero, g).output(0), other) if need[2] else None,
    ]


RULES: dict[str, Rule] = {
    "Add": add, "Subtract": subtract, "Multiply": multiply, "Divide": divide, "Power": power, "Sqrt": square_root,
    "Negative": negative, "Sigmoid": sigmoid, "Tanh": tanh, "Relu": relu, "Swish": swish, "Gelu": gelu, "Softmax": softmax,
    "MatMul": matmul, "Reshape": reshape_back, "Squeeze": reshape_back, "Unsqueeze": reshape_back, "Transpose": transpose,
    "Concat": concat, "Slice": slice_back, "Gather": gather, "Broadcast": broadcast, "ReduceMean": reduce_mean, "Convert": convert,
    "Select": select, "MVN": layer_norm,
    "ScaledDotProductAttention": attention, "Tile": routing.tile, "ReduceSum": routing.reduce_sum, "TopK": routing.top_k,
    "ScatterElementsUpdate": routing.scatter_elements_update, "GatherElements": routing.gather_elements, "Clamp": routing.clamp,
    "Minimum": routing.minimum,
}  # fmt: skip


SPLITS = ("Split", "VariadicSplit")


def joined(node: ov.Node, parts: Sequence[ov.Output]) -> ov.Output:
    """Of a split into several outputs: their gradients, one behind the other."""
    return ops.concat(list(parts), int(constant_input(node, 1))).output(0)


def _unfused(weight: ov.Output, g: ov.Output) -> ov.Output:
    """A compressed weight plus a zero that is known at run time only: the CPU plugin fuses compressed weights transposed one way alone.

    OpenVINO 2026.4.1 fails to compile the product of a gradient with weights in groups ("Incompatible MatMul matrix dimension"), and takes
    the packed copy of a square matrix for both of its products, one of which is then with the matrix turned.
    """
    kind, shape = weight.get_node().get_type_name(), weight.get_partial_shape()
    if kind == "Parameter" or (kind == "Constant" and shape[-1] != shape[-2]):
        return weight
    entry = ops.gather(ops.reshape(g, np.array([-1]), special_zero=False), np.array(0), np.array(0))
    zero = ops.minimum(ops.abs(entry), like(0.0, g))  # a product with 0, or anything of the shape alone, is folded to a constant
    return ops.add(weight, ops.convert(zero, weight.get_element_type().get_type_name())).output(0)
