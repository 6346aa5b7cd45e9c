"""Keep last-token slicing where the output projection has become our op. After: lower_sparse_matmul. Undone before: raise_sparse_matmul.

openvino-genai computes logits of the tokens that it samples from, not of a whole prompt: it puts a Slice (or Gather, with paged attention)
before the last MatMul, which it finds from the model's first output. An op of ours is no MatMul. So the projection reads its input through
a product with the identity, which changes no bit in f32, and that product becomes the first output:

    hidden -> MatMul(identity) -> Result 0 "scap_ov.hidden"
                               -> scap_ov::SparseMatMul -> … -> Result 1 "logits"
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.custom_ops import OP_NAME
from scap_ov.passes.base import Pass, PassResult

HIDDEN = "scap_ov.hidden"  # name of the first output, and of the product that gives it
LEAST_RATIO = 16  # outputs for each input channel: below, reading the identity costs an eighth and more of what the projection saves
_BEHIND = ("Add", "Convert", "Divide", "Multiply", "Tanh", "Transpose")  # what openvino-genai looks through


class KeepSlicing(Pass[ov.Model]):
    """Put the product with the identity before a pruned output projection, in place.

    1. Only where the first output is computed from one op of ours, through what openvino-genai looks through.
    2. A projection with few outputs is left as it is: it then computes the logits of whole prompts.
    3. So is one that computes in f16 or bf16.
    4. Outputs keep their names; their places move by one.
    5. A second run changes nothing.
    """

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Find the projection and rewire it."""
        op = _projection(model)
        if op is None:
            return PassResult(model, False)
        hidden = op.input_value(0)
        width = hidden.get_partial_shape()[-1].get_length()
        if hidden.get_element_type() != ov.Type.f32:
            return PassResult(model, False)
        identity = ops.constant(np.eye(width, dtype=np.float32))
        product = ops.matmul(hidden, identity, False, False)
        product.set_friendly_name(HIDDEN)
        product.output(0).get_tensor().set_names({HIDDEN})
        op.input(0).replace_source_output(product.output(0))
        _with_results(model, [ops.result(product), *model.get_results()])
        return PassResult(model, True)


class DropSlicing(Pass[ov.Model]):
    """Undo KeepSlicing, in place."""

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Take the product and its output away."""
        results = model.get_results()
        first = results[0].input_value(0).get_node() if results else None
        if first is None or first.get_friendly_name() != HIDDEN or first.get_type_name() != "MatMul":
            return PassResult(model, False)
        for reader in first.output(0).get_target_inputs():
            if reader.get_node().get_type_name() != "Result":
                reader.replace_source_output(first.input_value(0))
        _with_results(model, results[1:])
        return PassResult(model, True)


def _projection(model: ov.Model) -> ov.Node | None:
    """The op that gives the first output, where slicing before it is worth keeping."""
    if not model.get_results():
        return None
    node = model.get_results()[0].input_value(0).get_node()
    while node.get_type_name() in _BEHIND:
        node = node.input_value(0).get_node()
    if node.get_type_name() != OP_NAME or node.get_output_size() != 1:
        return None
    shape, outputs = node.input_value(0).get_partial_shape(), node.get_output_partial_shape(0)[-1]
    if len(shape) != 3 or shape[-1].is_dynamic or outputs.is_dynamic:
        return None
    return node if outputs.get_length() >= LEAST_RATIO * shape[-1].get_length() else None


def _with_results(model: ov.Model, results: list[ov.Node]) -> None:
    """Give a model these results, in this order."""
    for result in model.get_results():
        model.remove_result(result)
    model.add_results(results)
    model.validate_nodes_and_infer_types()
