"""Read the plan back out of a sparse model, and the stock model with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov

from scap_ov.config import SparsityConfig
from scap_ov.custom_ops import OP_NAME
from scap_ov.errors import BadModelError
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.raise_sparse_matmul import RaiseSparseMatMul
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity
from scap_ov.passes.openvino.sparse_op import names_of, read
from scap_ov.passes.rules.match_pattern import match_patterns
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import Site
from scap_ov.storage import rt_info


@dataclass(frozen=True)
class PrunedInput:
    """One tensor that is pruned in a graph of either form.

    :param x: the tensor before pruning.
    :param center: float32 [1] or [K].
    :param threshold: float32 [1] or [K].
    :param whole_threshold: float32 [1] or [K], up to which channels are read by half; empty where none is.
    :param layers: names of the layers that read it.
    """

    x: ov.Output
    center: np.ndarray
    threshold: np.ndarray
    whole_threshold: np.ndarray
    layers: tuple[str, ...]


def pruned_inputs(model: ov.Model) -> list[PrunedInput]:
    """Pruned tensors of both forms."""
    found = [
        PrunedInput(p.source, p.center, p.threshold, p.whole_threshold, tuple(layer.matmul.get_friendly_name() for layer in p.layers))
        for p in match_patterns(model)
    ]
    for node in model.get_ordered_ops():
        if node.get_type_name() == OP_NAME:
            pruning = read(node)[1]
            layers = tuple(names_of(node)[1])
            found.append(PrunedInput(node.input_value(0), pruning.center, pruning.threshold, pruning.whole_threshold, layers))
    return found


def is_lowered(model: ov.Model) -> bool:
    """Whether a model holds scap_ov::SparseMatMul."""
    return any(op.get_type_name() == OP_NAME for op in model.get_ops())


def take_apart(model: ov.Model) -> tuple[SparsityPlan, ov.Model]:
    """The plan that is in a sparse model, and the stock model; the given model is not changed.

    Expected sparsities are not known from the graph and are 0.

    :raises BadModelError: a layer is pruned that is no site of the stock model.
    """
    record = rt_info.read_record(model)
    config = SparsityConfig.from_dict(record["config"]) if record else SparsityConfig()
    stock = RaiseSparseMatMul()(model.clone()).model
    patterns = match_patterns(stock)
    found = [(p, {layer.matmul.get_friendly_name(): layer.compensation for layer in p.layers}) for p in patterns]
    stock = RemoveSparsity()(stock).model
    sites = {layer.name: match.site for match in find_sites(stock, lm_head=True).matches for layer in match.site.layers}
    entries = {}
    for pattern, compensation in found:
        missing = [name for name in compensation if name not in sites]
        if missing:
            msg = f"the layer {missing[0]} is pruned, but is no site of the stock model inside; apply the plan to the stock model again"
            raise BadModelError(msg)
        site = sites[next(iter(compensation))]
        whole = pattern.whole_threshold if pattern.whole_threshold.size else None
        entries[site.name] = SitePlan(site.name, pattern.threshold, pattern.center, 0.0, _joined(site, compensation), whole)
    return SparsityPlan(config, fingerprint(stock), tuple(dict.fromkeys(sites.values())), entries), stock


def _joined(site: Site, parts: dict[str, np.ndarray | None]) -> np.ndarray | None:
    """The compensation of all layers of a site in order, float32 [N], or None where no layer has any."""
    if all(parts.get(layer.name) is None for layer in site.layers):
        return None
    found = [(parts.get(layer.name), layer.out_features) for layer in site.layers]
    return np.concatenate([np.zeros(size, np.float32) if part is None else part for part, size in found])
