"""Tell tensors [T, B, K] from [B, T, K]: models that turn their hidden states, as fairseq's do, have the sequence first.

Shapes are carried from the inputs through a copy of the graph with two sequences of three tokens; nothing is computed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.errors import reason_of
from scap_ov.passes.rules.constants import constant_values

_log = logging.getLogger(__name__)
BATCH, LENGTH = 2, 3


def time_first(model: ov.Model, values: Sequence[ov.Output]) -> list[bool]:
    """Which values are [T, B, ...] when token ids are [B, T] and embeddings [B, T, H].

    :param model: is not changed.
    :param values: outputs of its nodes.
    """
    if not values or not any(_turns(node) for node in model.get_ops()):
        return [False] * len(values)
    copy = ov.Model(list(values), model.get_sinks(), _parameters(model, values), "scap_ov_axes").clone()
    for batch in (BATCH, 1):
        try:
            copy.reshape({port: _sized(port, batch) for port in copy.inputs})
        except RuntimeError as e:
            _log.info("shapes for %d sequences do not fit: %s", batch, reason_of(e))
            continue
        return [_leading(port.get_partial_shape()) == [LENGTH, batch] for port in copy.outputs]
    return [False] * len(values)


def _parameters(model: ov.Model, values: Sequence[ov.Output]) -> list[ov.Node]:
    """Those of the model, and others that the values depend on, as settings that were hung onto the graph."""
    found = {node.get_instance_id(): node for node in model.get_parameters()}
    pending, seen = [value.get_node() for value in values], set()
    while pending:
        node = pending.pop()
        if node.get_instance_id() in seen:
            continue
        seen.add(node.get_instance_id())
        if node.get_type_name() == "Parameter":
            found.setdefault(node.get_instance_id(), node)
        pending += [value.get_node() for value in node.input_values()]
    return list(found.values())


def batch_first(value: ov.Output) -> ov.Output:
    """[T, B, ...] -> [B, T, ...]."""
    rank = len(value.get_partial_shape())
    return ops.transpose(value, np.array([1, 0, *range(2, rank)])).output(0)


def _turns(node: ov.Node) -> bool:
    if node.get_type_name() != "Transpose":
        return False
    try:
        order = constant_values(node.input_value(1))[0].astype(int).tolist()
    except ValueError:
        return True
    return len(order) == 3 and order[:2] == [1, 0]


def _sized(port: ov.Output, batch: int) -> ov.PartialShape:
    """The input's shape with its first two dimensions fixed, where they are those of tokens or embeddings."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != (3 if port.get_element_type().is_real() else 2):
        return shape
    sizes = [size if dim.is_dynamic else dim.get_length() for size, dim in zip((batch, LENGTH), shape, strict=False)]
    return ov.PartialShape([*sizes, *list(shape)[2:]])


def _leading(shape: ov.PartialShape) -> list[int]:
    if shape.rank.is_dynamic or len(shape) < 2 or shape[0].is_dynamic or shape[1].is_dynamic:
        return []
    return [shape[0].get_length(), shape[1].get_length()]
