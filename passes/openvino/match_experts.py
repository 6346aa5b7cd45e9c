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

from scap_ov.passes.rules.constants import constant_values
from scap_ov.passes.rules.experts import Activation, ExpertBlock
from scap_ov.passes.rules.match_pattern import Pattern, match_pruned
from scap_ov.passes.rules.passthrough import carries_channels
from scap_ov.passes.rules.tensors import key_of, unconverted
from scap_ov.passes.rules.weight_matrix import LeaveStock

_VIEWS = ("Reshape", "Squeeze", "Unsqueeze")


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
    ids, routing = _choice(factor, experts)
    hidden, pruned_hidden = _unpruned(down.input_value(0))
    up, up_bias, activation = _hidden(hidden)
    spread = {(v.get_node().get_instance_id(), v.get_index()): v for v in (layer.input_value(0) for layer in up)}
    if len(spread) > 1:
        _refuse("gate and up read different tensors")
    tile = _tile(next(iter(spread.values())), experts)
    source, pruned_source = _tokens(tile.input_value(0))
    for layer in (*up, down):
        if _weight_shape(layer)[0] != experts or not layer.get_attributes()["transpose_b"] or layer.get_attributes()["transpose_a"]:
            _refuse(f"the product {layer.get_friendly_name()} has a weight of shape {_weight_shape(layer)}; [E, N, K] is understood")
    used = ids.get_partial_shape()[-1]
    if used.is_dynamic:
        _refuse("how many a token uses is not known")
    return ExpertBlock(source, tile, ids, routing, experts, used.get_length(), up, down, activation, hidden, (up_bias, down_bias),
                       total.output(0), pruned_source, pruned_hidden)  # fmt: skip


def _product(value: ov.Output) -> tuple[ov.Node | None, np.ndarray | None]:
    """The batched product [E, T, H] that a value is, with a bias [E, H] or without; None where it is none."""
    node, bias = _moving(value).get_node(), None
    if node.get_type_name() == "Add":
        bias = _bias(node.input_value(1))
        node = node.input_value(0).get_node()
        if bias is None:
            return None, None
    return (node, bias) if _is_batched(node) else (None, None)


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


def _choice(factor: ov.Output, experts: int) -> tuple[ov.Output, ov.Output]:
    """Expert ids and routing weights [T, k] out of what multiplies the products, [E, T, 1]."""
    node = factor.get_node()
    while node.get_type_name() in _VIEWS:
        shape = node.get_output_partial_shape(0)
        tail = [shape[i] for i in range(2, len(shape))]
        if shape[0] != experts or any(d.is_dynamic or d.get_length() != 1 for d in tail):
            _refuse(f"the routing weights have the shape {shape}; [E, T, 1] is understood")
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Transpose" or _numbers(node.input_value(1)) != [1, 0]:
        _refuse(f"the routing weights come from a {node.get_type_name()}; a Transpose [T, E] -> [E, T] is understood")
    scatter = node.input_value(0).get_node()
    kind = scatter.get_type_name()
    if kind != "ScatterElementsUpdate" or scatter.get_attributes().get("reduction", "none") != "none":
        _refuse(f"the routing weights come from a {kind}; weights that are put into zeros (ScatterElementsUpdate) are understood")
    if _numbers(scatter.input_value(3)) not in ([1], [-1]) or not _is_zero(scatter.input_value(0)):
        _refuse("the routing weights are put into something else than zeros [T, E]")
    ids = unconverted(scatter.input_value(1))
    chosen = ids.get_node()
    if chosen.get_type_name() != "TopK" or ids.get_index() != 1 or len(ids.get_partial_shape()) != 2:
        _refuse(f"the choice is made by a {chosen.get_type_name()}; one TopK over [T, E], which never takes an expert twice, is understood")
    if chosen.get_input_partial_shape(0)[-1] != experts or chosen.get_attributes()["axis"] not in (1, -1):
        _refuse(f"the choice is among {chosen.get_input_partial_shape(0)[-1]}")
    routing = scatter.input_value(2)
    cut = routing.get_node()
    # torch.scatter cuts the weights to the shape of the ids, which they have where both come from one TopK
    if cut.get_type_name() == "Slice" and _origin_topk(cut.input_value(0)) == chosen.get_instance_id():
        routing = cut.input_value(0)
    return ids, routing


def _origin_topk(value: ov.Output) -> int:
    """Instance id of the TopK whose values a tensor of their shape is computed from; -1 where that is not plain."""
    node = value.get_node()
    while node.get_type_name() in ("Convert", "Softmax", "Sigmoid", "Divide", "Multiply"):
        if node.get_type_name() in ("Divide", "Multiply"):
            other = node.input_value(1).get_partial_shape()
            if len(other) > 0 and other[-1] != 1:
                return -1
        value = node.input_value(0)
        node = value.get_node()
    return node.get_instance_id() if node.get_type_name() == "TopK" and value.get_index() == 0 else -1


def _hidden(value: ov.Output) -> tuple[tuple[ov.Node, ...], np.ndarray | None, Activation]:
    """The products behind act(gate) · up, their bias [E, N'] and the activation."""
    node = value.get_node()
    if node.get_type_name() != "Multiply":
        _refuse(f"what the last product reads is a {node.get_type_name()}; act(gate) · up is understood")
    for port in (0, 1):
        act, other = node.input_value(port).get_node(), node.input_value(1 - port)
        if act.get_type_name() not in ("Swish", "Gelu"):
            continue
        gate, up = act.input_value(0).get_node(), other.get_node()
        if _is_batched(gate) and _is_batched(up):
            return (gate, up), None, _activation(act)
        return _clamped(act, other)
    _refuse("the activation is none of SiLU and GELU")
    raise AssertionError


def _activation(act: ov.Node) -> Activation:
    if act.get_type_name() == "Gelu":
        return Activation("gelu_tanh" if act.get_attributes()["approximation_mode"].lower() == "tanh" else "gelu_erf")
    beta = _numbers(act.input_value(1)) if act.get_input_size() > 1 else [1.0]
    if beta != [1.0]:
        _refuse(f"the activation is x · sigmoid({beta} x)")
    return Activation("silu")


def _clamped(act: ov.Node, other: ov.Output) -> tuple[tuple[ov.Node, ...], np.ndarray | None, Activation]:
    """Of gpt-oss: Swish(Minimum(even, limit), alpha) · (Clamp(odd, −limit, limit) + 1)."""
    gate, plus = act.input_value(0).get_node(), other.get_node()
    kinds = act.get_type_name(), gate.get_type_name(), plus.get_type_name()
    if kinds != ("Swish", "Minimum", "Add") or _numbers(plus.input_value(1)) != [1.0]:
        _refuse("gate and up are combined in a way that is not known")
    clamp = plus.input_value(0).get_node()
    limit, alpha = _numbers(gate.input_value(1)), _numbers(act.input_value(1)) if act.get_input_size() > 1 else [1.0]
    if clamp.get_type_name() != "Clamp" or len(limit) != 1 or len(alpha) != 1:
        _refuse("gate and up are clamped in a way that is not known")
    bounds = clamp.get_attributes()
    even, odd = gate.input_value(0).get_node(), clamp.input_value(0).get_node()
    if (bounds["min"], bounds["max"]) != (-limit[0], limit[0]) or not _every_second(even, 0) or not _every_second(odd, 1):
        _refuse("gate and up do not alternate, or are clamped differently")
    if key_of(even.input_value(0)) != key_of(odd.input_value(0)):
        _refuse("gate and up are parts of different products")
    product, bias = _product(even.input_value(0))
    if product is None:
        _refuse("gate and up are no parts of a product")
        raise AssertionError
    return (product,), bias, Activation("clamped_swiglu", alpha[0], limit[0])


def _every_second(node: ov.Node, start: int) -> bool:
    if node.get_type_name() != "Slice" or node.get_input_size() != 5:
        return False
    first, last, step, axis = (_numbers(node.input_value(port)) for port in (1, 2, 3, 4))
    return first == [start] and step == [2] and axis in ([2], [-1]) and bool(last) and last[0] >= _weight_end(node)


def _weight_end(node: ov.Node) -> int:
    size = node.get_input_partial_shape(0)[-1]
    return 0 if size.is_dynamic else int(size.get_length())


def _tile(value: ov.Output, experts: int) -> ov.Node:
    """The Tile whose copies are read, one for each expert."""
    node = value.get_node()
    if node.get_type_name() == "Reshape" and value.get_partial_shape()[0] == experts:
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Tile" or _numbers(node.input_value(1)) not in ([experts, 1], [experts, 1, 1]):
        _refuse(f"the tokens are spread by a {node.get_type_name()}; a Tile for all experts is understood")
    return node


def _tokens(value: ov.Output) -> tuple[ov.Output, Pattern | None]:
    """The tensor that all experts read, through views that keep the channels, and our pattern if it stands between."""
    while value.get_node().get_type_name() in _VIEWS and carries_channels(value.get_node()):
        value = value.get_node().input_value(0)
    return _unpruned(value)


def _unpruned(value: ov.Output) -> tuple[ov.Output, Pattern | None]:
    pattern = match_pruned(value.get_node()) if value.get_node().get_type_name() == "Select" else None
    return (value, None) if pattern is None else (pattern.source, pattern)


def _bias(value: ov.Output) -> np.ndarray | None:
    """A constant [E, 1, N] as float32 [E, N]."""
    try:
        values, _ = constant_values(value)
    except ValueError:
        return None
    return values[:, 0].astype(np.float32) if values.ndim == 3 and values.shape[1] == 1 else None


def _is_zero(value: ov.Output) -> bool:
    node = value.get_node()
    value = node.input_value(0) if node.get_type_name() == "Broadcast" else value
    numbers = _numbers(value)
    return bool(numbers) and not any(numbers)


def _numbers(value: ov.Output) -> list[float]:
    """The values of a small constant; empty for anything else."""
    try:
        values, _ = constant_values(value)
    except ValueError:
        return []
    return [float(v) for v in values.reshape(-1)] if values.size <= 4 else []


def _axis(node: ov.Node) -> list[float]:
    return [] if node.get_attributes()["keep_dims"] else _numbers(node.input_value(1))


def _moving(value: ov.Output) -> ov.Output:
    while value.get_node().get_type_name() in _VIEWS:
        value = value.get_node().input_value(0)
    return value


def _refuse(why: str) -> None:
    raise LeaveStock(why)
