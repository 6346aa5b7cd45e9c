"""Let our ops prune every row but the first of a window, whatever they were made for. After: lower_sparse_matmul."""

from __future__ import annotations

import openvino as ov

from scap_ov.custom_ops import OP_NAMES
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino.insert_cats import gate_masks
from scap_ov.passes.openvino.match_experts import match_experts
from scap_ov.passes.openvino.split_blocks import SplitBlocks
from scap_ov.passes.openvino.time_axis import time_first
from scap_ov.passes.rules.match_pattern import match_patterns


class EveryRow(Pass[ov.Model]):
    """Set the row policy of all ops to `all`, in place: their weights stay where they are, in the file say.

    1. No policy is set where something is pruned in standard ops too, or where an op could not have been made with this one: its input is
       [T, B, K], or a Reshape before it hides which row is the first (LowerSparseMatMul's rule 6).
    2. Fused blocks are split first.
    """

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Change the ops."""
        split = SplitBlocks()(model).modified
        nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in OP_NAMES]
        inputs = [node.input_value(0) for node in nodes]
        if not nodes or _prunes_beside(model) or any(map(_flattened, inputs)) or any(time_first(model, inputs)):
            return PassResult(model, split)
        for node in nodes:
            node.set_attribute("rows", "all")
        model.validate_nodes_and_infer_types()
        return PassResult(model, True)


def _prunes_beside(model: ov.Model) -> bool:
    """Whether there are patterns of ours, which have not become ops."""
    blocks = match_experts(model.get_ordered_ops())[0]
    return bool(match_patterns(model) or gate_masks(model) or any(block.pruned_source or block.pruned_hidden for block in blocks))


def _flattened(x: ov.Output) -> bool:
    """Whether a tensor is what a Reshape has made of one with more axes."""
    node = x.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Reshape" and len(x.get_partial_shape()) < 3
