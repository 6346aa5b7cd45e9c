"""Find the sites of a model: activation tensors and the fully connected layers that read them. Before: calibration, insert_sparsity."""

from __future__ import annotations

from collections.abc import Iterator

import openvino as ov

from scap_ov.custom_ops import OP_NAMES
from scap_ov.errors import BadModelError
from scap_ov.passes.openvino.match_experts import match_experts
from scap_ov.passes.openvino.weights import depends_on_constants, read_experts, read_weight
from scap_ov.passes.rules.experts import ExpertBlock, RoutedExperts
from scap_ov.passes.rules.match_pattern import match_pattern
from scap_ov.passes.rules.other_layers import other_layer
from scap_ov.passes.rules.sites import FoundSites, hash_layers, other_reader, sort_out
from scap_ov.passes.rules.weight_matrix import LeaveStock, NoLayer, WeightMatrix


def find_sites(model: ov.Model, *, lm_head: bool = False) -> FoundSites:
    """Find every site. The model is only read.

    1. Layers that read one tensor are one site, also when a Convert or Reshape stands between.
    2. The kind and the block come from the graph around a layer, names only where that says nothing.
    3. The output projection is a site only when it is asked for.
    4. A layer that cannot be pruned is skipped with a reason: its weight form, a weight that something else reads too
       (but for the output projection, which may share the embedding table), an unknown rank, expert routing, control flow,
       an initial state that is computed once for a sequence, NaN or infinity in its weight or scales.
    5. A bias that is added after the layer stays outside.
    6. A layer of routed experts is two sites, of all experts together: what gate and up read, and what down reads.

    :param lm_head: make the output projection a site as well.
    :raises BadModelError: the model is sparse already, or holds no fully connected layer at all.
    """
    ordered = model.get_ordered_ops()
    routed, reasons = read_routed(ordered)
    _refuse_sparse(ordered, routed)
    layers, skipped = _layers(ordered)
    products = {layer.get_instance_id() for experts in routed for layer in experts.block.layers}
    layers = [(node, reasons.get(node.get_friendly_name(), weight)) for node, weight in layers if node.get_instance_id() not in products]
    return sort_out(ordered, layers, skipped, lm_head=lm_head, routed=routed)


def read_routed(ordered: list[ov.Node]) -> tuple[list[RoutedExperts], dict[str, str]]:
    """Layers of routed experts with their weights, and by name of a product why it is in none.

    :param ordered: a graph's nodes in topological order.
    """
    blocks, reasons = match_experts(ordered)
    routed = []
    for block in blocks:
        read = read_block(block)
        if isinstance(read, str):
            reasons |= {layer.get_friendly_name(): f"routed experts: {read}" for layer in block.layers}
        else:
            routed.append(read)
    return routed, reasons


def read_block(block: ExpertBlock, *, looked_at: bool = False) -> RoutedExperts | str:
    """A block with its weights, or why they cannot be used.

    :param looked_at: the weights are known to be finite; float ones would be read from the file once more to see it.
    """
    try:
        *up, down = (_expert_weight(layer, looked_at=looked_at) for layer in block.layers)
    except LeaveStock as e:
        return f"of one projection, {e}"
    if len({weight.spec for weight in up}) > 1:
        return f"gate and up are stored differently, {' and '.join(str(weight.spec) for weight in up)}"
    return RoutedExperts(block, tuple(up), down)


def _expert_weight(layer: ov.Node, *, looked_at: bool) -> WeightMatrix:
    weight = read_experts(layer)
    other = other_reader(layer, weight.constant)
    reason = f"its weight is shared with {other}" if other else "" if looked_at else weight.not_finite()
    if reason:
        raise LeaveStock(reason)
    return weight


def fingerprint(model: ov.Model) -> str:
    """Hash of the layers' names, shapes, types and a sample of their weights: the same for clones, saved copies and sparse forms.

    :return: 64 hexadecimal digits.
    """
    return hash_layers([(node.get_friendly_name(), weight) for node, weight in _layers(model.get_ordered_ops())[0]])


def _layers(ordered: list[ov.Node]) -> tuple[list[tuple[ov.Node, WeightMatrix | str]], list[tuple[str, str]]]:
    """Fully connected layers with their weight, or why it cannot be used; and layers inside control flow."""
    layers: list[tuple[ov.Node, WeightMatrix | str]] = []
    inside: list[tuple[str, str]] = []
    for node in ordered:
        kind = node.get_type_name()
        if kind == "MatMul":
            try:
                layers.append((node, read_weight(node)))
            except NoLayer:
                continue
            except LeaveStock as reason:
                layers.append((node, str(reason)))
        elif kind in ("Loop", "TensorIterator", "If"):
            for body in _bodies(node):
                names = [layer.get_friendly_name() for layer, _ in _layers(body.get_ordered_ops())[0]]
                inside += [(name, f"it is inside the {kind} {node.get_friendly_name()}") for name in names]
        elif kind in ("Convolution", "Einsum"):
            why = other_layer(node, [depends_on_constants(value) for value in node.input_values()])
            inside += [(node.get_friendly_name(), why)] if why else []
    return layers, inside


def _bodies(node: ov.Node) -> Iterator[ov.Model]:
    if node.get_type_name() == "If":
        yield from (node.get_function(branch) for branch in (0, 1))
    else:
        yield node.get_function() if hasattr(node, "get_function") else node.get_body()


def _refuse_sparse(ordered: list[ov.Node], routed: list[RoutedExperts]) -> None:
    pruned = any(experts.block.pruned_source or experts.block.pruned_hidden for experts in routed)
    for node in ordered:
        kind = node.get_type_name()
        if pruned or kind in OP_NAMES or (kind == "Select" and match_pattern(node) is not None):
            msg = "the model is sparse already; give the stock model that it was made from"
            raise BadModelError(msg)
