"""Read the plan back out of a sparse model, and the stock model with it. Used by: sparse_view.

Reads the portable pattern of docs/packing.md, `Select(keep, x, c) → MatMul → [Add(·, compensation)]`, and SparseMatMul's inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import openvino as ov

from scap_ov.config import SparsityConfig
from scap_ov.errors import BadModelError
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.storage import rt_info

LOWERED = "SparseMatMul"


@dataclass(frozen=True)
class Pattern:
    """One pruned site in a graph.

    :param node: the Select, or the SparseMatMul.
    :param x: the site's input before pruning.
    :param layers: names of the MatMul nodes.
    """

    node: ov.Node
    x: ov.Output
    center: np.ndarray
    threshold: np.ndarray
    layers: tuple[str, ...]


def find_patterns(model: ov.Model) -> list[Pattern]:
    """Pruned sites of both forms, in the order of execution."""
    return [pattern for node in model.get_ordered_ops() for pattern in _pattern(node)]


def take_apart(model: ov.Model) -> tuple[SparsityPlan, ov.Model]:
    """The plan that is in a sparse model, and the stock model; the given model is not changed.

    :raises BadModelError: the pattern is not one that scap_ov writes.
    """
    from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
    from scap_ov.passes.openvino.raise_sparse_matmul import RaiseSparseMatMul

    record = rt_info.read_record(model)
    config = SparsityConfig.from_dict(record["config"]) if record else SparsityConfig()
    stock = model.clone()
    if any(op.get_type_name() == LOWERED for op in stock.get_ops()):
        stock = RaiseSparseMatMul()(stock).model
    patterns = find_patterns(stock)
    compensation = {name: value for pattern in patterns for name, value in _remove(pattern, stock).items()}
    stock.validate_nodes_and_infer_types()
    sites = {layer.name: match.site for match in find_sites(stock, lm_head=True).matches for layer in match.site.layers}
    entries = {}
    for pattern in patterns:
        missing = [name for name in pattern.layers if name not in sites]
        if missing:
            msg = f"the layer {missing[0]} is pruned, but is no site of the stock model inside; apply the plan to the stock model again"
            raise BadModelError(msg)
        site = sites[pattern.layers[0]]
        parts = [compensation.get(layer.name) for layer in site.layers]
        whole = np.concatenate([p if p is not None else np.zeros(layer.out_features, np.float32)
                                for p, layer in zip(parts, site.layers, strict=True)]) if any(p is not None for p in parts) else None  # fmt: skip
        planned = 0.0  # not known from the graph; the sparsity is measured
        entries[site.name] = SitePlan(site.name, pattern.threshold, pattern.center, planned, whole)
    unique = tuple(dict.fromkeys(sites.values()))
    return SparsityPlan(config, fingerprint(stock), unique, entries), stock


def _pattern(node: ov.Node) -> Iterator[Pattern]:
    if node.get_type_name() == LOWERED:
        yield Pattern(node, node.input_value(0), _constant(node.input_value(4)), _constant(node.input_value(5)), ())
        return
    if node.get_type_name() != "Select":
        return
    keep, x = node.input_value(0).get_node(), node.input_value(1)
    if keep.get_type_name() == "LogicalOr":
        keep = next((v.get_node() for v in keep.input_values() if v.get_node().get_type_name() == "Greater"), keep)
    if keep.get_type_name() != "Greater":
        return
    distance = keep.input_value(0).get_node()
    if distance.get_type_name() != "Abs" or distance.input_value(0).get_node().get_type_name() not in (
        "Subtract",
        x.get_node().get_type_name(),
    ):
        return
    layers = tuple(t.get_node().get_friendly_name() for t in node.output(0).get_target_inputs() if t.get_node().get_type_name() == "MatMul")
    if layers:
        yield Pattern(node, x, _constant(node.input_value(2)).reshape(-1), _threshold(keep.input_value(1)), layers)


def _remove(pattern: Pattern, model: ov.Model) -> dict[str, np.ndarray]:
    """Take a portable pattern out of its model. :return: layer name -> compensation, float32 [N]."""
    found = {}
    readers = [t.get_node() for t in pattern.node.output(0).get_target_inputs()]
    for target in pattern.node.output(0).get_target_inputs():
        target.replace_source_output(pattern.x)
    for reader in readers:
        for target in reader.output(0).get_target_inputs():
            extra = _compensation(target.get_node(), reader)
            if extra is not None:
                found[reader.get_friendly_name()] = extra
                for consumer in target.get_node().output(0).get_target_inputs():
                    consumer.replace_source_output(reader.output(0))
    return found


def _compensation(node: ov.Node, layer: ov.Node) -> np.ndarray | None:
    """The constant of `Add(layer, Select(pruned, compensation, 0))`."""
    if node.get_type_name() != "Add":
        return None
    other = next((v.get_node() for v in node.input_values() if v.get_node() != layer), None)
    if other is None or other.get_type_name() != "Select" or other.input_value(1).get_node().get_type_name() != "Constant":
        return None
    return _constant(other.input_value(1)).reshape(-1)


def _threshold(value: ov.Output) -> np.ndarray:
    """τ, from the constant itself or from Select(rows are few, τ, −1)."""
    node = value.get_node()
    return _constant(node.input_value(1) if node.get_type_name() == "Select" else value).reshape(-1)


def _constant(value: ov.Output) -> np.ndarray:
    node = value.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        msg = f"a pruned site has a {node.get_type_name()} where centre or threshold should be constant; apply the plan to the stock model again"
        raise BadModelError(msg)
    return np.array(node.data, np.float32)
