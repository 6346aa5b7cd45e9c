"""Which nodes may stand between a site's tensor and its layers."""

from __future__ import annotations

import openvino as ov


def carries_channels(node: ov.Node) -> bool:
    """Whether a node changes type or leading dimensions only, never the channels."""
    kind = node.get_type_name()
    if kind == "Convert":
        return bool(node.get_input_element_type(0).is_real() and node.get_element_type().is_real())
    if kind not in ("Reshape", "Squeeze", "Unsqueeze"):
        return False
    before, after = node.get_input_partial_shape(0), node.get_output_partial_shape(0)
    if before.rank.is_dynamic or after.rank.is_dynamic or not len(before) or not len(after):
        return False
    return bool(before[-1].is_static and after[-1].is_static and before[-1] == after[-1])
