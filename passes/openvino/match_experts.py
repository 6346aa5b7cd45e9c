"""Match a layer of routed experts as optimum-cli writes it, stock or with our pattern inside.

    tokens [T, K] ─▶ Tile, Reshape [E, T, K] ─▶ gate, up [E, T, N] ─▶ act(gate) · up ─▶ down [E, T, H] ─▶ · routing ─▶ Σ over E [T, H]
    router [T, E] ─▶ TopK ─▶ zeros [T, E] with the chosen weights put in (ScatterElementsUpdate) ─▶ Transpose ─▶ routing [E, T, 1]

gpt-oss: gate and up are one product whose even outputs are the gate; products have biases; gate and up are clamped. The CPU plugin
recognises the same blocks and computes the chosen experts only (GatherMatmul); a Select at `down`'s input keeps it from that.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import openvino as ov

from scap_ov.passes.openvino.gate_activation import activation_name
from scap_ov.passes.openvino.match_choice import VIEWS, match_choice, numbers, refuse
from scap_ov.passes.rules.constants import constant_values
from scap_ov.passes.rules.experts import Activation, ExpertBlock
from scap_ov.passes.rules.match_half_read import match_half_read
from scap_ov.passes.rules.match_pattern import Pattern, match_pruned
from scap_ov.passes.rules.passthrough import carries_channels
from scap_ov.passes.rules.tensors import key_of
from scap_ov.passes.rules.weight_matrix import LeaveStock


def match_experts(ordered: Iterable[ov.Node]) -> tuple[list[ExpertBlock], dict[str, str]]:
    """All layers of routed experts.

    :param ordered: a graph's nodes in topological order.
    :return: the blocks, and for the products of blocks that are not understood the reason, by friendly name.
    """
    blocks: list[ExpertBlock] = []
    reasons: dict[str, str] = {}
    for node in ordered:
        if node.get_type_name() != "ReduceSum" or _axis(node) != [0]:
            continue
        product = _moving(node.input_value(0)).get_node()
        if product.get_type_name() != "Multiply":
            continue
        for port in (0, 1):
            down, bias = _product(product.input_value(port))
            if down is None:
                continue
            try:
                blocks.append(_block(node, down, bias, product.input_value(1 - port)))
            except LeaveStock as e:
                reasons |= {layer.get_friendly_name(): f"routed experts: {e}" for layer in (down, *_batched_behind(down))}
    return blocks, reasons


def _block(total: ov.Node, down: ov.Node, down_bias: np.ndarray | None, factor: ov.Output) -> ExpertBlock:
    experts = _weight_shape(down)[0]
    ids, routing = match_choice(factor, experts)
    hidden, pruned_hidden = _unpruned(down.input_value(0), (down,))
    up, up_bias, activation = _hidden(hidden)
    spread = {key_of(value): value for value in (layer.input_value(0) for layer in up)}
    if len(spread) > 1:
        refuse("gate and up read different tensors")
    tile = _tile(next(iter(spread.values())), experts)
    source, pruned_source = _tokens(tile.input_value(0), up)
    for layer in (*up, down):
        if _weight_shape(layer)[0] != experts or not layer.get_attributes()["transpose_b"] or layer.get_attributes()["transpose_a"]:
            refuse(f"the product {layer.get_friendly_name()} has a weight of shape {_weight_shape(layer)}; [E, N, K] is understood")
    used = ids.get_partial_shape()[-1]
    if used.is_dynamic:
        refuse("how many a token uses is not known")
    return ExpertBlock(source, tile, ids, routing, experts, used.get_length(), up, down, activation, hidden, (up_bias, down_bias),
                       total.output(0), pruned_source, pruned_hidden)  # fmt: skip


def _product(value: ov.Output) -> tuple[ov.Node | None, np.ndarray | None]:
    """The batched product [E, T, H] that a value is, with a bias [E, H] or without; None where it is none."""
    node, bias = _whole(_moving(value).get_node()), None
    if node.get_type_name() == "Add":
        bias = _bias(node.input_value(1))
        node = _whole(node.input_value(0).get_node())
        if bias is None:
            return None, None
    return (node, bias) if _is_batched(node) else (None, None)


def _whole(node: ov.Node) -> ov.Node:
    """The product that a sum stands for where it takes off what half-reading loses (see match_half_read); anything else as it is."""
    if node.get_type_name() in ("Add", "Subtract") and _is_batched(node.input_value(0).get_node()):
        product: ov.Node = node.input_value(0).get_node()
        return product if match_half_read(product) is not None else node
    return node


def _is_batched(node: ov.Node) -> bool:
    return node.get_type_name() == "MatMul" and len(_weight_shape(node)) == 3


def _weight_shape(matmul: ov.Node) -> list[int]:
    shape = matmul.get_input_partial_shape(1)
    return [] if shape.is_dynamic else list(shape.to_shape())


def _batched_behind(down: ov.Node) -> list[ov.Node]:
    """Products that a product's input comes from, a few nodes up."""
    found, pending = [], [(down.input_value(0).get_node(), 0)]
    while pending:
        node, depth = pending.pop()
        if _is_batched(node):
            found.append(node)
        elif depth < 8 and node.get_type_name() not in ("Tile", "Constant"):
            pending += [(v.get_node(), depth + 1) for v in node.input_values()]
    return found


def _hidden(value: ov.Output) -> tuple[tuple[ov.Node, ...], np.ndarray | None, Activation]:
    """The products behind act(gate) · up, their bias [E, N'] and the activation."""
    node = value.get_node()
    if node.get_type_name() != "Multiply":
        refuse(f"what the last product reads is a {node.get_type_name()}; act(gate) · up is understood")
    for port in (0, 1):
        act, other = node.input_value(port).get_node(), node.input_value(1 - port)
        if act.get_type_name() not in ("Swish", "Gelu"):
            continue
        gate, up = (_whole(value.get_node()) for value in (act.input_value(0), other))
        if _is_batched(gate) and _is_batched(up):
            return (gate, up), None, _activation(act)
        return _clamped(act, other)
    return refuse("the activation is none of SiLU and GELU")


def _activation(act: ov.Node) -> Activation:
    name = activation_name(act)
    if name is None:
        refuse(f"the activation is x · sigmoid({numbers(act.input_value(1))} x)")
    return Activation(name)


def _clamped(act: ov.Node, other: ov.Output) -> tuple[tuple[ov.Node, ...], np.ndarray | None, Activation]:
    """Of gpt-oss: Swish(Minimum(even, limit), alpha) · (Clamp(odd, −limit, limit) + 1)."""
    gate, plus = act.input_value(0).get_node(), other.get_node()
    kinds = act.get_type_name(), gate.get_type_name(), plus.get_type_name()
    if kinds != ("Swish", "Minimum", "Add") or numbers(plus.input_value(1)) != [1.0]:
        refuse("gate and up are combined in a way that is not known")
    clamp = plus.input_value(0).get_node()
    limit, alpha = numbers(gate.input_value(1)), numbers(act.input_value(1)) if act.get_input_size() > 1 else [1.0]
    if clamp.get_type_name() != "Clamp" or len(limit) != 1 or len(alpha) != 1:
        refuse("gate and up are clamped in a way that is not known")
    bounds = clamp.get_attributes()
    even, odd = gate.input_value(0).get_node(), clamp.input_value(0).get_node()
    if (bounds["min"], bounds["max"]) != (-limit[0], limit[0]) or not _every_second(even, 0) or not _every_second(odd, 1):
        refuse("gate and up do not alternate, or are clamped differently")
    if key_of(even.input_value(0)) != key_of(odd.input_value(0)):
        refuse("gate and up are parts of different products")
    product, bias = _product(even.input_value(0))
    if product is None:
        refuse("gate and up are no parts of a product")
    return (product,), bias, Activation("clamped_swiglu", alpha[0], limit[0])


def _every_second(node: ov.Node, start: int) -> bool:
    if node.get_type_name() != "Slice" or node.get_input_size() != 5:
        return False
    first, last, step, axis = (numbers(node.input_value(port)) for port in (1, 2, 3, 4))
    return first == [start] and step == [2] and axis in ([2], [-1]) and bool(last) and last[0] >= _weight_end(node)


def _weight_end(node: ov.Node) -> int:
    size = node.get_input_partial_shape(0)[-1]
    return 0 if size.is_dynamic else int(size.get_length())


def _tile(value: ov.Output, experts: int) -> ov.Node:
    """The Tile whose copies are read, one for each expert."""
    node = value.get_node()
    if node.get_type_name() == "Reshape" and value.get_partial_shape()[0] == experts:
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Tile" or numbers(node.input_value(1)) not in ([experts, 1], [experts, 1, 1]):
        refuse(f"the tokens are spread by a {node.get_type_name()}; a Tile for all experts is understood")
    return node


def _tokens(value: ov.Output, up: tuple[ov.Node, ...]) -> tuple[ov.Output, Pattern | None]:
    """The tensor that all experts read, through views that keep the channels, and our pattern if it stands between."""
    while value.get_node().get_type_name() in VIEWS and carries_channels(value.get_node()):
        value = value.get_node().input_value(0)
    return _unpruned(value, up)


def _unpruned(value: ov.Output, products: tuple[ov.Node, ...]) -> tuple[ov.Output, Pattern | None]:
    pattern = match_pruned(value.get_node(), products) if value.get_node().get_type_name() == "Select" else None
    return (value, None) if pattern is None else (pattern.source, pattern)


def _bias(value: ov.Output) -> np.ndarray | None:
    """A constant [E, 1, N] as float32 [E, N]."""
    try:
        values, _ = constant_values(value)
    except ValueError:
        return None
    return values[:, 0].astype(np.float32) if values.ndim == 3 and values.shape[1] == 1 else None


def _axis(node: ov.Node) -> list[float]:
    return [] if node.get_attributes()["keep_dims"] else numbers(node.input_value(1))


def _moving(value: ov.Output) -> ov.Output:
    while value.get_node().get_type_name() in VIEWS:
        value = value.get_node().input_value(0)
    return value
