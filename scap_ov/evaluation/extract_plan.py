"""Read the plan back out of a sparse model, and the stock model with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov

from scap_ov.config import SparsityConfig
from scap_ov.custom_ops import OP_NAME
from scap_ov.errors import BadModelError
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.portable_pattern import PREFIX
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
    :param site: name of the site, as the pattern or the op carries it.
    """

    x: ov.Output
    center: np.ndarray
    threshold: np.ndarray
    whole_threshold: np.ndarray
    layers: tuple[str, ...]
    site: str

    def site_in(self, sites: Sequence[Site]) -> str:
        """The site's name among those of a model: its own, or that of its layers in a pattern of another tool."""
        if any(site.name == self.site for site in sites):
            return self.site
        return next(site.name for site in sites if any(layer.name == self.layers[0] for layer in site.layers))


def pruned_inputs(model: ov.Model) -> list[PrunedInput]:
    """Pruned tensors of both forms."""
    found = [
        PrunedInput(p.source, p.center, p.threshold, p.whole_threshold, tuple(layer.matmul.get_friendly_name() for layer in p.layers),
                    p.select.get_friendly_name().removeprefix(PREFIX))
        for p in match_patterns(model)
    ]  # fmt: skip
    for node in model.get_ordered_ops():
        if node.get_type_name() == OP_NAME:
            pruning = read(node)[1]
            site, layers = names_of(node)
            x = node.input_value(0)
            found.append(PrunedInput(x, pruning.center, pruning.threshold, pruning.whole_threshold, tuple(layers), site))
    return found


def pruned_sites(model: ov.Model) -> set[str]:
    """Names of the sites that a graph of either form prunes, as their patterns and ops carry them."""
    found = {pattern.select.get_friendly_name().removeprefix(PREFIX) for pattern in match_patterns(model)}
    return found | {names_of(node)[0] for node in model.get_ops() if node.get_type_name() == OP_NAME}


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
    found = [(p, p.select.get_friendly_name().removeprefix(PREFIX), [(layer.matmul.get_friendly_name(), layer.compensation)
                                                                     for layer in p.layers]) for p in patterns]  # fmt: skip
    stock = RemoveSparsity()(stock).model
    matches = find_sites(stock, lm_head=True).matches
    sites = {layer.name: match.site for match in matches for layer in match.site.layers}
    named = {match.site.name: match.site for match in matches}
    entries = {}
    for pattern, own, compensation in found:
        missing = [name for name, _ in compensation if name not in sites]
        if missing:
            msg = f"the layer {missing[0]} is pruned, but is no site of the stock model inside; apply the plan to the stock model again"
            raise BadModelError(msg)
        site = named.get(own) or sites[compensation[0][0]]
        whole = pattern.whole_threshold if pattern.whole_threshold.size else None
        entries[site.name] = SitePlan(site.name, pattern.threshold, pattern.center, 0.0, _joined(site, compensation), whole)
    return SparsityPlan(config, fingerprint(stock), tuple(named.values()), entries), stock


def _joined(site: Site, parts: list[tuple[str, np.ndarray | None]]) -> np.ndarray | None:
    """The compensation of all layers of a site in order, float32 [N], or None where no layer has any; equal names in their order."""
    if all(part is None for _, part in parts):
        return None
    left, found = list(parts), []
    for layer in site.layers:
        at = next((i for i, (name, _) in enumerate(left) if name == layer.name), None)
        part = None if at is None else left.pop(at)[1]
        found.append(np.zeros(layer.out_features, np.float32) if part is None else part)
    return np.concatenate(found)
