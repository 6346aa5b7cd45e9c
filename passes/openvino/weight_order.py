"""Prove where the elements of a layer's weight are stored, through any chain of Transpose and Reshape.

Which axis comes first cannot be told from shapes: Constant [24, 32] -> Transpose -> Reshape [48, 16] has the shape of a plain weight and
none of its order. So the places of some elements are followed up the chain, by the arithmetic of each node, and compared with what a
reading claims. The chain itself is not computed.
"""

from __future__ import annotations

import numpy as np
import openvino as ov

from scap_ov.passes.rules.constants import constant_values
from scap_ov.passes.rules.tensors import key_of

KEEPS_ORDER = ("Convert", "Reshape", "Squeeze", "Unsqueeze")  # element i of the output is element i of the input
_PLACES = 61  # a permutation that is neither of the two orders moves nearly every element; the corners are among them


def sampled_places(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Output and input channels of some elements of a weight [N, K], int64, the corners and their neighbours among them."""
    rng = np.random.default_rng(0)
    rows = np.array([0, 0, n - 1, n - 1, 0, min(1, n - 1), *rng.integers(0, n, _PLACES)], np.int64)
    columns = np.array([0, k - 1, 0, k - 1, min(1, k - 1), 0, *rng.integers(0, k, _PLACES)], np.int64)
    return rows, columns


def followed_up(value: ov.Output, stop: ov.Output, places: np.ndarray) -> np.ndarray:
    """Flat places of elements of `value`, as places of `stop`, which it was made of by moves alone.

    :param stop: an output further up the chain.
    :param places: int64 [P], counted over the elements of `value`.
    :raises ValueError: another node stands in between, or a shape is dynamic; the text says which.
    """
    while key_of(value) != key_of(stop):
        node = value.get_node()
        kind = node.get_type_name()
        if kind == "Transpose":
            order = constant_values(node.input_value(1))[0].astype(int).tolist()
            index = np.unravel_index(places, _shape(value))
            before = [index[order.index(axis)] for axis in range(len(order))]
            places = np.ravel_multi_index(before, _shape(node.input_value(0)))
        elif kind == "Slice":  # the first elements of the last axis, as weights.before_cut has made sure
            places = np.ravel_multi_index(np.unravel_index(places, _shape(value)), _shape(node.input_value(0)))
        elif kind not in KEEPS_ORDER:
            msg = f"{kind} {node.get_friendly_name()} is no move of elements"
            raise ValueError(msg)
        value = node.input_value(0)
    return places


def stored_by_input(
    weight: ov.Output, stop: ov.Output, n: int, k: int, *, by_output: bool, padding: int = 0, expected: bool = False
) -> bool:
    """Whether elements lie in `stop` as [K, N] rather than as [N, K + padding].

    :param weight: what the layer reads, [..., N, K] where `by_output`, else [..., K, N].
    :param expected: which answer to prefer where both are true, as for a single output channel.
    :raises ValueError: they lie in neither order.
    """
    rows, columns = sampled_places(n, k)
    found = followed_up(weight, stop, rows * k + columns if by_output else columns * n + rows)
    orders = {True: columns * n + rows, False: rows * (k + padding) + columns}
    for answer in (expected, not expected):
        if np.array_equal(found, orders[answer]) and not (answer and padding):
            return answer
    msg = "its elements are stored neither by input nor by output channel: Transpose and Reshape mix them"
    raise ValueError(msg)


def _shape(value: ov.Output) -> list[int]:
    shape = value.get_partial_shape()
    if shape.is_dynamic:
        msg = f"{value.get_node().get_friendly_name()} has the dynamic shape {shape}"
        raise ValueError(msg)
    return list(shape.to_shape())
