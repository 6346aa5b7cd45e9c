"""Let a graph that computes in other float types compute in f32, as OpenVINO's CPU plugin does when it runs one in full precision."""

from __future__ import annotations

from collections.abc import Sequence

import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.rules.tensors import Key, key_of

_OTHER = ("f16", "bf16", "f64")
_STATES = ("ReadValue", "Assign")


def widen(model: ov.Model) -> bool:
    """Change a graph in place: constants, inputs and states keep their types, and what reads them reads them as f32.

    The decompression of weights stays as it is, up to the layer that reads the weight.

    :param model: give a clone.
    :return: whether there was anything to change.
    :raises RuntimeError: an operation cannot compute in f32, such as a loop with constants of its own; the graph is of no use any more.
    """
    ordered = model.get_ordered_ops()
    constant = _constant_nodes(ordered)
    computed = [node for node in ordered if node.get_instance_id() not in constant]
    if not any(_is_other(output) for node in computed for output in node.outputs() if node.get_type_name() != "Result"):
        return False
    wide: dict[Key, ov.Output] = {}
    for node in computed:
        kind = node.get_type_name()
        if kind in _STATES and node.get_input_size() and _is_other(node.input_value(0)):
            dtype = node.input_value(0).get_element_type().get_type_name()
            node.input(0).replace_source_output(ops.convert(node.input_value(0), dtype).output(0))
        if kind == "Convert" and _is_other(node.output(0)):
            node.set_attribute("destination_type", "f32")
        for port in node.inputs() if kind not in ("Result", *_STATES) else ():
            value = port.get_source_output()
            own = value.get_node()
            if _is_other(value) and (own.get_instance_id() in constant or _keeps_its_type(own)):
                key = key_of(value)
                if key not in wide:
                    wide[key] = ops.convert(value, "f32").output(0)
                port.replace_source_output(wide[key])
    model.validate_nodes_and_infer_types()
    return True


def _constant_nodes(ordered: Sequence[ov.Node]) -> set[int]:
    """Instance ids of the nodes that depend on constants alone."""
    found: set[int] = set()
    for node in ordered:
        above = [value.get_node().get_instance_id() for value in node.input_values()]
        if node.get_type_name() == "Constant" or (above and node.get_type_name() not in ("Result", *_STATES) and found.issuperset(above)):
            found.add(node.get_instance_id())
    return found


def _keeps_its_type(node: ov.Node) -> bool:
    """Whether what a node gives is of a type that the node itself tells: inputs, states, and Range or RandomUniform."""
    if node.get_type_name() == "Convert":
        return False
    return node.get_type_name() in ("Parameter", *_STATES) or any(str(value) in _OTHER for value in node.get_attributes().values())


def _is_other(value: ov.Output) -> bool:
    return value.get_element_type().get_type_name() in _OTHER
