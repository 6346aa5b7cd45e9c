"""Which tensors of a graph depend on others in a way that has a derivative."""

from __future__ import annotations

from collections.abc import Sequence

import openvino as ov

from scap_ov.gradients.gradient_rules import FLAT
from scap_ov.passes.rules.tensors import Key, key_of


def reached(ordered: Sequence[ov.Node], wanted: Sequence[ov.Output]) -> set[Key]:
    """Tensors that depend on a wanted one, those themselves included; shapes and comparisons of them do not count."""
    found = {key_of(value) for value in wanted}
    for node in ordered:
        if node.get_type_name() not in FLAT and any(key_of(value) in found for value in node.input_values()):
            found |= {key_of(node.output(i)) for i in range(node.get_output_size())}
    return found
