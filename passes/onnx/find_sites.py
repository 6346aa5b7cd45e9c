"""Find the sites of an ONNX model: activation tensors and the fully connected layers that read them. Before: calibration, insert_sparsity.

The rules, the names and the structure analysis are those of passes.openvino.find_sites, on the graph as graph_view shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from scap_ov.errors import BadModelError
from scap_ov.passes.onnx.graph_view import GraphView, NodeView, OutputView
from scap_ov.passes.onnx.variants import DOMAIN
from scap_ov.passes.onnx.weights import depends_on_constants, read_weight
from scap_ov.passes.rules.match_pattern import match_pattern
from scap_ov.passes.rules.other_layers import other_layer
from scap_ov.passes.rules.sites import FoundSites, SiteMatch, hash_layers, sort_out
from scap_ov.passes.rules.weight_matrix import LeaveStock, NoLayer, WeightMatrix

FINGERPRINT = "onnx:"  # begins the fingerprint of an ONNX model
_INTEGER_LAYERS = {"MatMulInteger", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm"}
_FUSED = {"Attention", "FusedGemm", "DecoderAttention", "LongformerAttention", "QAttention", "QOrderedAttention"}
_EXPERTS = {"MoE", "QMoE"}
_EXPERTS_INSIDE = (
    "its routed experts are inside the operator {}, which drops no channel and has no input between its products; export the model with "
    "optimum-cli export openvino for the op of this software, or with a MatMul for each expert"
)

__all__ = ["FINGERPRINT", "FoundSites", "SiteMatch", "find_sites", "fingerprint", "is_sparse", "site_values"]


def find_sites(model: ir.Model, *, lm_head: bool = False) -> FoundSites:
    """Find every site. The model is only read; what is found refers to its values through views.

    1. Layers that read one tensor are one site, also when a Cast or Reshape stands between.
    2. The kind and the block come from the graph around a layer, names only where that says nothing.
    3. The output projection is a site only when it is asked for.
    4. A layer that cannot be pruned is skipped with a reason: its weight form, a weight that something else reads too
       (but for the output projection, which may share the embedding table), an unknown rank, expert routing, control flow,
       integer activations, NaN or infinity in its weight or scales.
    5. A bias, of a Gemm or a MatMulNBits too, stays what it is.

    :param model: with shapes, as infer_shapes leaves it.
    :param lm_head: make the output projection a site as well.
    :raises BadModelError: the model is sparse already, or holds no fully connected layer at all.
    """
    view = GraphView(model)
    if is_sparse(model, view):
        msg = "the model is sparse already; give the stock model that it was made from"
        raise BadModelError(msg)
    layers, skipped = _layers(view)
    return sort_out(view.ordered, layers, skipped, lm_head=lm_head)  # type: ignore[arg-type]


def fingerprint(model: ir.Model) -> str:
    """Hash of the layers' names, shapes, types and a sample of their weights: the same for clones, saved copies and sparse forms.

    :return: `onnx:` and 64 hexadecimal digits.
    """
    return FINGERPRINT + hash_layers([(node.get_friendly_name(), weight) for node, weight in _layers(GraphView(model))[0]])


def is_sparse(model: ir.Model, view: GraphView | None = None) -> bool:
    """Whether a model holds the pattern, as a function or inline."""
    if any(node.domain == DOMAIN for node in model.graph):
        return True
    nodes = (view or GraphView(model)).ordered
    return any(node.get_type_name() == "Select" and match_pattern(node) is not None for node in nodes)


def _layers(view: GraphView) -> tuple[list[tuple[NodeView, WeightMatrix | str]], list[tuple[str, str]]]:
    """Fully connected layers with their weight, or why it cannot be used; and layers that are out of reach."""
    layers: list[tuple[NodeView, WeightMatrix | str]] = []
    beyond: list[tuple[str, str]] = []
    for node in view.ordered:
        if node.onnx is None:
            continue
        if node.get_type_name() == "MatMul":
            try:
                layers.append((node, read_weight(node)))
            except NoLayer:
                continue
            except LeaveStock as reason:
                layers.append((node, str(reason)))
        elif node.onnx.op_type in _INTEGER_LAYERS:
            beyond.append((node.get_friendly_name(), "its activations are quantised to integers"))
        elif node.onnx.op_type in _FUSED and node.onnx.domain == "com.microsoft":
            beyond.append((node.get_friendly_name(), f"it is part of the operator {node.onnx.op_type}; layers of their own are pruned"))
        elif node.onnx.op_type in _EXPERTS and node.onnx.domain == "com.microsoft":
            beyond.append((node.get_friendly_name(), _EXPERTS_INSIDE.format(node.onnx.op_type)))
        elif (why := other_layer(node, [depends_on_constants(value) for value in node.input_values()])) != "":
            beyond.append((node.get_friendly_name(), why))
        else:
            where = f"it is inside the {node.onnx.op_type} {node.get_friendly_name()}"
            beyond += [(inner.name or inner.op_type, where) for inner in _inner_layers(node.onnx)]
    return layers, beyond


def _inner_layers(node: ir.Node) -> Iterator[ir.Node]:
    """MatMuls with a constant weight in the bodies of a control flow node."""
    for attribute in node.attributes.values():
        bodies: list[Any] = [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else []
        bodies += attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else []
        for body in bodies:
            for inner in body.all_nodes():
                weight = inner.inputs[1] if inner.op_type in ("MatMul", "Gemm", "MatMulNBits") else None
                if weight is not None and weight.const_value is not None:
                    yield inner


def site_values(match: SiteMatch) -> tuple[ir.Value, list[ir.Node]]:
    """The tensor of a site and the nodes of its layers, in the graph."""
    source: OutputView = match.source  # type: ignore[assignment]
    return source.value, [layer.onnx for layer in match.matmuls]  # type: ignore[attr-defined]
