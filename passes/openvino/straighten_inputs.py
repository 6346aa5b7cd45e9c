"""Give layers that multiply a transposed activation, as exports of Mamba have them, channels in the last axis. Before: find_sites."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino.remove_sparsity import replace_output
from scap_ov.passes.openvino.weights import weight_is_right
from scap_ov.passes.rules.tensors import Key, key_of


class StraightenInputs(Pass[ov.Model]):
    """Write MatMul(x, W, transpose_a) as MatMul(Transpose(x), W) where W is a weight, in place. The CPU plugin fuses it again.

    1. Layers that read one tensor read one Transpose.
    2. Layers keep their names; nothing but layers with constant weights is touched.
    3. A second run changes nothing.
    """

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Straighten all layers."""
        straight: dict[Key, ov.Node] = {}
        turned = [node for node in model.get_ordered_ops() if is_turned(node)]
        for node in turned:
            value = node.input_value(0)
            key = key_of(value)
            if key not in straight:
                rank = len(value.get_partial_shape())
                straight[key] = ops.transpose(value, np.array([*range(rank - 2), rank - 1, rank - 2]))
            layer = ops.matmul(straight[key], node.input_value(1), False, node.get_attributes()["transpose_b"])
            layer.set_friendly_name(node.get_friendly_name())
            replace_output(node.output(0), layer.output(0))
        if turned:
            model.validate_nodes_and_infer_types()
        return PassResult(model, bool(turned))


def is_turned(node: ov.Node) -> bool:
    """Whether a node is a layer with a transposed input of known rank."""
    if node.get_type_name() != "MatMul" or not node.get_attributes()["transpose_a"]:
        return False
    rank = node.get_input_partial_shape(0).rank
    return bool(rank.is_static and rank.get_length() >= 2 and weight_is_right(node))
