"""Take the states out of a model whose runs are sequences of their own."""

from __future__ import annotations

import openvino as ov


def forget_states(model: ov.Model) -> list[ov.Node]:
    """Replace every state by what it starts from: each run is a sequence of its own, and keys are plain tensors that gradients can read.

    In OpenVINO 2026.4.1 attention is fused with its cache, and what else reads the cache then gets it in another order of axes.

    :return: sinks of the states that start from nothing and so must stay.
    """
    kept = set()
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            if not node.get_input_size():
                kept.add(node.get_attributes()["variable_id"])
                continue
            for reader in list(node.output(0).get_target_inputs()):
                reader.replace_source_output(node.input_value(0))
    return [sink for sink in model.get_sinks() if sink.get_attributes()["variable_id"] in kept]
