"""The activation of an FFN: where it is, and which."""

from __future__ import annotations

import openvino as ov

from scap_ov.passes.openvino.match_choice import numbers

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


def activation_name(node: ov.Node) -> str | None:
    """`silu`, `gelu_tanh` or `gelu_erf`, as our ops name it; None for any other node, and for x · sigmoid(β x) with another β than 1."""
    if node.get_type_name() == "Swish" and (node.get_input_size() == 1 or numbers(node.input_value(1)) == [1.0]):
        return "silu"
    if node.get_type_name() == "Gelu":
        return "gelu_tanh" if node.get_attributes()["approximation_mode"].lower() == "tanh" else "gelu_erf"
    return None
