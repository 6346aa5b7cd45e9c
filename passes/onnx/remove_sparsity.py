"""Take the pattern out of an ONNX graph again, inline or function. Undoes: insert_sparsity."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.onnx.graph_view import GraphView
from scap_ov.passes.onnx.infer_shapes import infer_shapes
from scap_ov.passes.onnx.variants import DOMAIN
from scap_ov.passes.rules.match_pattern import Pattern, PatternLayer, match_pattern


class RemoveSparsity(Pass[ir.Model]):
    """Make every layer that reads a pruned tensor read the tensor itself, in place.

    1. The compensation goes with the pattern.
    2. Functions of the pattern are expanded first, and go too.
    3. Initializers that nothing reads any more go, and so do nodes.
    4. A second run changes nothing.
    """

    def call(self, model: ir.Model) -> PassResult[ir.Model]:
        """Remove all patterns."""
        expand_functions(model)
        patterns = match_patterns(model)
        for pattern in patterns:
            for layer in pattern.layers:
                _restore(model.graph, pattern, layer)
        if patterns:
            common.RemoveUnusedNodesPass()(model)
        return PassResult(model, bool(patterns))


def match_patterns(model: ir.Model) -> list[Pattern]:
    """All inline patterns of the main graph in topological order; their nodes are views."""
    selects = [node for node in GraphView(model).ordered if node.get_type_name() == "Select"]
    return [pattern for node in selects for pattern in [match_pattern(node)] if pattern is not None]


def expand_functions(model: ir.Model) -> None:
    """Write the pattern's functions out as standard nodes, in place; other functions stay."""
    if any(node.domain == DOMAIN for node in model.graph):
        common.InlinePass(criteria=lambda function: function.domain == DOMAIN)(model)
        infer_shapes(model)
    model.opset_imports.pop(DOMAIN, None)


def _restore(graph: ir.Graph, pattern: Pattern, layer: PatternLayer) -> None:
    node: ir.Node = layer.matmul.onnx
    value: ir.Value = pattern.source.value
    for step in layer.path:  # copies of nodes that the pattern brought along
        step.onnx.replace_input_with(0, value)
        value = step.onnx.outputs[0]
    node.replace_input_with(0, value)
    if layer.compensation is None and layer.half is None:
        return
    total, own = layer.result.value, node.outputs[0]
    for reader, port in list(total.uses()):
        reader.replace_input_with(port, own)
    for index, output in enumerate(graph.outputs):
        if output is total:
            graph.outputs[index] = own
            own.name, total.name = total.name, own.name
