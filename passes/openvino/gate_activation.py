"""Find the activated gate of a gated FFN."""

from __future__ import annotations

import openvino as ov

_ACTIVATIONS = ("Swish", "Gelu", "Relu", "Sigmoid", "HSwish", "Mish", "SoftPlus")


def gate_activation(source: ov.Output) -> ov.Output | None:
    """The activated gate of a gated FFN: the factor act(gate) of the product act(gate)·up that feeds a down site."""
    node = source.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Multiply":
        return None
    for factor in node.input_values():
        if factor.get_node().get_type_name() in _ACTIVATIONS:
            return factor
        parts = factor.get_node().input_values()  # x·sigmoid(x), spelt out
        if factor.get_node().get_type_name() == "Multiply" and any(p.get_node().get_type_name() == "Sigmoid" for p in parts):
            return factor
    return None
