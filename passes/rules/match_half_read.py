"""Match what a layer of the portable pattern takes off where a channel is read by half, W·d − R·d, as half_reads writes it.

lost     MatMul(Negative(Select(|x − c| > τ₀ ∧ |x − c| ≤ τ₁ ∧ …, x − c, 0)), R)
layer    Add(layer, lost); Subtract without Negative in ONNX, and as earlier versions wrote it

Of routed experts the Select's output goes through a Tile, as their tokens do.
"""

from __future__ import annotations

from dataclasses import dataclass

import openvino as ov

from scap_ov.passes.rules.passthrough import carries_channels

_NEGATIVES = {"Add": 1, "Subtract": 0}  # before the product, by what takes it in


@dataclass(frozen=True)
class HalfRead:
    """What a layer takes off for entries that are read by half.

    :param lost: the MatMul of −(x − c), or of x − c where it is subtracted, and R.
    :param select: chooses the entries.
    :param distance: |x − c|.
    :param whole: τ₁, row policy included.
    """

    lost: ov.Node
    select: ov.Node
    distance: ov.Output
    whole: ov.Output


def match_half_read(layer: ov.Node) -> tuple[HalfRead, ov.Output] | None:
    """The half-read part behind a layer, and the output that stands for the layer then; None where there is none.

    :param layer: a MatMul.
    """
    readers = [target.get_node() for target in layer.output(0).get_target_inputs()]
    if len(readers) != 1 or readers[0].get_type_name() not in _NEGATIVES or not _is(readers[0].input_value(0), layer):
        return None
    lost = readers[0].input_value(1).get_node()
    if lost.get_type_name() != "MatMul":
        return None
    select = lost.input_value(0).get_node()
    negatives = 0
    while carries_channels(select) or select.get_type_name() in ("ConvertLike", "Negative", "Tile"):
        negatives += select.get_type_name() == "Negative"
        select = select.input_value(0).get_node()
    if select.get_type_name() != "Select" or negatives != _NEGATIVES[readers[0].get_type_name()]:
        return None
    for node in _conjuncts(select.input_value(0).get_node()):
        if node.get_type_name() == "LessEqual" and node.input_value(0).get_node().get_type_name() == "Abs":
            return HalfRead(lost, select, node.input_value(0), node.input_value(1)), readers[0].output(0)
    return None


def _conjuncts(node: ov.Node) -> list[ov.Node]:
    """The terms of nested LogicalAnds."""
    if node.get_type_name() != "LogicalAnd":
        return [node]
    return [term for value in node.input_values() for term in _conjuncts(value.get_node())]


def _is(value: ov.Output, node: ov.Node) -> bool:
    return bool(value.get_node().get_instance_id() == node.get_instance_id())
