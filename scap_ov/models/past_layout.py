"""The layout of a past of keys and values, as the graph shows it: which axis counts tokens, and how many rows a sequence has."""

from __future__ import annotations

import numpy as np
import openvino as ov

from scap_ov.models.tensors import Port

_DEPTH = 6  # nodes between an input of past keys and the Concat that they grow in


def growing_axis(port: Port) -> int | None:
    """The axis of a past that counts tokens: where the graph puts new ones behind it; of four dimensions without a graph, the third."""
    shape = port.get_partial_shape()
    rank = 0 if shape.rank.is_dynamic else len(shape)
    if hasattr(port, "get_target_inputs"):
        found = _concat(port, list(range(rank)), _DEPTH)
        if found is not None:
            node, axes = found
            return axes[_number(node, "axis") % len(axes)]
    free = [axis for axis, dim in enumerate(shape) if dim.is_dynamic]
    later = [axis for axis in free if axis]
    return later[0] if later else None


def rows_of_one(model: ov.Model, tokens: str, name: str) -> int:
    """Rows that a past of rank 3 has for one sequence: its heads where batch and heads are one axis, as in Bloom ([B*H, D, T]).

    :param tokens: the input of token ids; the shapes that follow from one sequence tell those of the new keys.
    :return: 1 where the graph does not tell.
    """
    try:
        one = model.clone()
        one.reshape({tokens: [1, 2]})
    except RuntimeError:  # the graph does not take these shapes by themselves
        return 1
    port = one.input(name)
    found = _concat(port, list(range(len(port.get_partial_shape()))), _DEPTH)
    if found is None:
        return 1
    node, axes = found
    new = node.get_input_partial_shape(node.get_input_size() - 1)
    rows = new[axes.index(0)] if new.rank.is_static and len(new) == len(axes) else ov.Dimension()
    return 1 if rows.is_dynamic else max(int(rows.get_length()), 1)


def _concat(value: ov.Output, axes: list[int], depth: int) -> tuple[ov.Node, list[int]] | None:
    """The Concat that a past grows in, and which axis of the input each of its axes is."""
    for target in value.get_target_inputs() if depth else ():
        node, kind = target.get_node(), target.get_node().get_type_name()
        if kind == "Concat":
            return node, axes
        turned = axes
        if kind == "Transpose":
            order = _order(node)
            if order is None or len(order) != len(axes):
                continue
            turned = [axes[axis] for axis in order]
        elif kind not in ("Convert", "ConvertLike", "Gather") or target.get_index() != 0:
            continue
        found = _concat(node.output(0), turned, depth - 1)
        if found is not None:
            return found
    return None


def _number(node: ov.Node, name: str) -> int:
    own = getattr(node, "onnx", None)
    return int(own.attributes[name].as_int() if own is not None else node.get_attributes()[name])


def _order(node: ov.Node) -> list[int] | None:
    own = getattr(node, "onnx", None)
    if own is not None:
        return list(own.attributes["perm"].as_ints()) if "perm" in own.attributes else None
    constant = node.input_value(1).get_node()
    return np.asarray(constant.data).reshape(-1).astype(int).tolist() if constant.get_type_name() == "Constant" else None
