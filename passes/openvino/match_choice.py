"""Match how a router chooses experts, in the graph before the routing weights of match_experts.

    scores [T, E] ─▶ TopK ─▶ zeros [T, E] with the chosen weights put in (ScatterElementsUpdate) ─▶ Transpose ─▶ routing [E, T, 1]

Phi-MoE: two TopK of one expert each, the second one over scores in which the first one's has −∞; their ids are put side by side.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import openvino as ov

from scap_ov.passes.rules.constants import constant_values
from scap_ov.passes.rules.tensors import key_of, unconverted
from scap_ov.passes.rules.weight_matrix import LeaveStock

VIEWS = ("Reshape", "Squeeze", "Unsqueeze")


def match_choice(factor: ov.Output, experts: int) -> tuple[ov.Output, ov.Output]:
    """Expert ids and routing weights [T, k] out of what multiplies the products, [E, T, 1].

    :raises LeaveStock: the graph is another; says how.
    """
    node = factor.get_node()
    while node.get_type_name() in VIEWS:
        shape = node.get_output_partial_shape(0)
        tail = [shape[i] for i in range(2, len(shape))]
        if shape[0] != experts or any(d.is_dynamic or d.get_length() != 1 for d in tail):
            refuse(f"the routing weights have the shape {shape}; [E, T, 1] is understood")
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Transpose" or numbers(node.input_value(1)) != [1, 0]:
        refuse(f"the routing weights come from a {node.get_type_name()}; a Transpose [T, E] -> [E, T] is understood")
    scatter = node.input_value(0).get_node()
    kind = scatter.get_type_name()
    if kind != "ScatterElementsUpdate" or scatter.get_attributes().get("reduction", "none") != "none":
        refuse(f"the routing weights come from a {kind}; weights that are put into zeros (ScatterElementsUpdate) are understood")
    if numbers(scatter.input_value(3)) not in ([1], [-1]) or not _is_zero(scatter.input_value(0)):
        refuse("the routing weights are put into something else than zeros [T, E]")
    ids = unconverted(scatter.input_value(1))
    if ids.get_node().get_type_name() == "Concat":
        return ids, _one_after_the_other(ids, scatter.input_value(2), experts)
    chosen = _choosing(ids, experts)
    routing = scatter.input_value(2)
    cut = routing.get_node()
    # torch.scatter cuts the weights to the shape of the ids, which they have where both come from one TopK
    if cut.get_type_name() == "Slice" and _origin_topk(cut.input_value(0)) == chosen.get_instance_id():
        routing = cut.input_value(0)
    return ids, routing


def _choosing(ids: ov.Output, experts: int) -> ov.Node:
    """The TopK over [T, E] that expert ids come from."""
    chosen = ids.get_node()
    if chosen.get_type_name() != "TopK" or ids.get_index() != 1 or len(ids.get_partial_shape()) != 2:
        refuse(
            f"the choice is made by a {chosen.get_type_name()}; one TopK over [T, E], which never takes an expert twice, is understood, or "
            "two of which the second one cannot take the first one's"
        )
    if chosen.get_input_partial_shape(0)[-1] != experts or chosen.get_attributes()["axis"] not in (1, -1):
        refuse(f"the choice is among {chosen.get_input_partial_shape(0)[-1]}")
    return chosen


def _one_after_the_other(ids: ov.Output, routing: ov.Output, experts: int) -> ov.Output:
    """Of Phi-MoE: the best expert, then the best of scores in which that one has −∞. The routing weights, which belong to both in order."""
    parts = [unconverted(value) for value in ids.get_node().input_values()]
    first, *rest = (_choosing(part, experts) for part in parts)
    if len(rest) != 1 or any(part.get_partial_shape()[-1] != 1 for part in parts):
        refuse(f"the choice is made by {len(parts)} TopK one after the other; two that take one expert each are understood")
    without = rest[0].input_value(0).get_node()
    left_out = (
        without.get_type_name() == "ScatterElementsUpdate"
        and without.get_attributes().get("reduction", "none") == "none"
        and numbers(without.input_value(3)) in ([1], [-1])
        and key_of(unconverted(without.input_value(1))) == key_of(first.output(1))
        and _everywhere(without.input_value(2)) == -np.inf
    )
    if not left_out:
        refuse("the second of two choices might take the same expert as the first")
    cut = routing.get_node()
    if cut.get_type_name() == "Slice":  # to the shape of the ids, which what is gathered by them has
        joined = cut.input_value(0).get_node()
        gathered = [value.get_node() for value in joined.input_values()] if joined.get_type_name() == "Concat" else []
        by = [key_of(unconverted(node.input_value(1))) for node in gathered if node.get_type_name() == "GatherElements"]
        if by == [key_of(part) for part in parts]:
            return joined.output(0)
    return routing


def _everywhere(value: ov.Output) -> float:
    """The one number that a tensor holds; NaN where that is not plain."""
    while value.get_node().get_type_name() in ("Slice", "Broadcast", "Convert"):
        value = value.get_node().input_value(0)
    found = numbers(value)
    return found[0] if len(found) == 1 else np.nan


def _origin_topk(value: ov.Output) -> int:
    """Instance id of the TopK whose values a tensor of their shape is computed from; -1 where that is not plain."""
    node = value.get_node()
    while node.get_type_name() in ("Convert", "Softmax", "Sigmoid", "Divide", "Multiply"):
        if node.get_type_name() in ("Divide", "Multiply"):
            other = node.input_value(1).get_partial_shape()
            if len(other) > 0 and other[-1] != 1:
                return -1
        value = node.input_value(0)
        node = value.get_node()
    return node.get_instance_id() if node.get_type_name() == "TopK" and value.get_index() == 0 else -1


def _is_zero(value: ov.Output) -> bool:
    node = value.get_node()
    value = node.input_value(0) if node.get_type_name() == "Broadcast" else value
    found = numbers(value)
    return bool(found) and not any(found)


def numbers(value: ov.Output) -> list[float]:
    """The values of a small constant; empty for anything else."""
    try:
        values, _ = constant_values(value)
    except ValueError:
        return []
    return [float(v) for v in values.reshape(-1)] if values.size <= 4 else []


def refuse(why: str) -> NoReturn:
    """Leave a layer stock.

    :raises LeaveStock: always.
    """
    raise LeaveStock(why)
