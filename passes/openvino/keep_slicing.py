"""Keep last-token slicing where the output projection has become our op. After: lower_sparse_matmul.

openvino-genai computes logits of the tokens that it samples from, not of a whole prompt: it puts a Slice (or Gather, with paged attention)
before the last MatMul, which it finds from the model's first output. An op with the attribute `projection` is a MatMul to
C++ in the model as it is read from a file (custom_ops/src/sparse_projection.hpp), and none in the copy that a plugin transforms.
"""

from __future__ import annotations

import openvino as ov

from scap_ov.custom_ops import OP_NAME
from scap_ov.passes.base import Pass, PassResult

VERSION = 3  # of an op with the attribute `projection`, kVersionOfProjection of custom_ops/src/op_version.hpp
HIDDEN = "scap_ov.hidden"  # files of before: name of the first output, and of the product with the identity that gives it
_BEHIND = ("Add", "Convert", "Divide", "Multiply", "Tanh", "Transpose")  # what openvino-genai looks through


class KeepSlicing(Pass[ov.Model]):
    """Mark the output projection, in place.

    1. It is the op of ours that the first output is computed from, through what openvino-genai looks through.
    2. A second run changes nothing.
    """

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Find the projection and mark it."""
        op = _projection(model)
        if op is None or op.get_attributes().get("projection"):
            return PassResult(model, False)
        op.set_attribute("version", VERSION)
        op.set_attribute("projection", True)
        return PassResult(model, True)


class DropSlicing(Pass[ov.Model]):
    """Undo what earlier versions wrote instead, in place: a product with the identity before the projection, as the first output."""

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Take the product and its output away."""
        results = model.get_results()
        first = results[0].input_value(0).get_node() if results else None
        if first is None or first.get_friendly_name() != HIDDEN or first.get_type_name() != "MatMul":
            return PassResult(model, False)
        for reader in first.output(0).get_target_inputs():
            if reader.get_node().get_type_name() != "Result":
                reader.replace_source_output(first.input_value(0))
        for result in results:
            model.remove_result(result)
        model.add_results(results[1:])
        model.validate_nodes_and_infer_types()
        return PassResult(model, True)


def _projection(model: ov.Model) -> ov.Node | None:
    """The op that gives the first output."""
    if not model.get_results():
        return None
    node = model.get_results()[0].input_value(0).get_node()
    while node.get_type_name() in _BEHIND:
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == OP_NAME and node.get_output_size() == 1 else None
