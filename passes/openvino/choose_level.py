"""Leave one level of a lowered model with several. After: lower_sparse_matmul, lower_experts."""

from __future__ import annotations

import openvino as ov

from scap_ov.custom_ops import EXPERTS_OP_NAME, OP_NAME
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino import experts_op, sparse_op
from scap_ov.passes.openvino.level_blocks import dial_of
from scap_ov.passes.openvino.remove_sparsity import replace_output
from scap_ov.passes.openvino.split_blocks import SplitBlocks


class ChooseLevel(Pass[ov.Model]):
    """Write every op that has levels anew with the numbers of one, in place. A model without levels is left as it is, but for fused blocks.

    :param level: one of the model's.
    :raises UsageError: the model has levels, and not this one.
    :raises ExtensionError: the library is missing or does not fit, and there is something to write.
    """

    def __init__(self, level: float) -> None:
        self._level = level

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Replace the ops."""
        split = SplitBlocks()(model).modified
        nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in (OP_NAME, EXPERTS_OP_NAME) and dial_of(node)]
        for node in nodes:
            inputs = [node.input_value(port) for port in range(node.get_input_size())]
            quantised = bool(node.get_attributes()["dynamic_quantization"])
            if node.get_type_name() == OP_NAME:
                packed, pruning = sparse_op.read(node, self._level)
                op = sparse_op.build(sparse_op.creator(), inputs[0], packed, pruning, dynamic_quantization=quantised)
            else:
                experts = experts_op.read(node, self._level)
                x, ids, routing = inputs[:3]
                op = experts_op.build(sparse_op.creator(experts_op.OP), x, ids, routing, experts, dynamic_quantization=quantised)
            op.set_friendly_name(node.get_friendly_name())
            for number in range(node.get_output_size()):
                replace_output(node.output(number), op.output(number))
        return PassResult(model, split or bool(nodes))
