"""Read the plan back out of a sparse model, and the stock model with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov

from scap_ov.config import SparsityConfig
from scap_ov.custom_ops import EXPERTS_OP_NAME, OP_NAME, OP_NAMES
from scap_ov.errors import BadModelError
from scap_ov.fitting.fewer_experts import with_experts
from scap_ov.json_values import JsonMapping
from scap_ov.passes.openvino import experts_op
from scap_ov.passes.openvino.expert_rows import chosen_rows
from scap_ov.passes.openvino.fewer_experts import used_experts
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.half_reads import Later
from scap_ov.passes.openvino.lower_experts import names_in
from scap_ov.passes.openvino.lowering import raise_
from scap_ov.passes.openvino.match_experts import match_experts
from scap_ov.passes.openvino.portable_pattern import PREFIX
from scap_ov.passes.openvino.remove_sparsity import RemoveSparsity
from scap_ov.passes.openvino.sparse_op import names_of, read
from scap_ov.passes.rules.experts import ExpertBlock
from scap_ov.passes.rules.match_pattern import Pattern, match_patterns
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
    :param rows_per_token: k where x is [T, k, N], of what `down` of routed experts reads, else 1.
    """

    x: ov.Output
    center: np.ndarray
    threshold: np.ndarray
    whole_threshold: np.ndarray
    layers: tuple[str, ...]
    site: str
    rows_per_token: int = 1

    def site_in(self, sites: Sequence[Site]) -> str:
        """The site's name among those of a model: its own, or that of its layers in a pattern of another tool."""
        if any(site.name == self.site for site in sites):
            return self.site
        return next(site.name for site in sites if any(layer.name == self.layers[0] for layer in site.layers))


def pruned_inputs(model: ov.Model) -> list[PrunedInput]:
    """Pruned tensors of both forms, but for what `down` of routed experts reads in the lowered one: it is inside of the op."""
    found = [
        PrunedInput(p.source, p.center, p.threshold, p.whole_threshold, tuple(layer.matmul.get_friendly_name() for layer in p.layers),
                    _site_of(p))
        for p in match_patterns(model)
    ]  # fmt: skip
    ordered = model.get_ordered_ops()
    for pattern, block, layers in _expert_patterns(ordered):
        inner = layers == (block.down,)
        x = chosen_rows(block, block.hidden) if inner else block.source
        products = tuple(layer.get_friendly_name() for layer in layers)
        found.append(PrunedInput(x, pattern.center, pattern.threshold, pattern.whole_threshold, products, _site_of(pattern),
                                 block.used if inner else 1))  # fmt: skip
    for node in ordered:
        if node.get_type_name() == OP_NAME:
            pruning = read(node)[1]
            site, names = names_of(node)
            x = node.input_value(0)
            found.append(PrunedInput(x, pruning.center, pruning.threshold, pruning.whole_threshold, tuple(names), site))
        elif node.get_type_name() == EXPERTS_OP_NAME:
            up = experts_op.read(node).up
            sites, names = names_in(node.get_friendly_name(), len(up.sites[0].sizes) + 1)
            found.append(PrunedInput(node.input_value(0), up.center, up.threshold, up.whole_threshold, tuple(names[:-1]), sites[0]))
    return found


def plan_in(model: ov.Model, summary: JsonMapping) -> SparsityPlan:
    """Centres and thresholds of a graph of either form by site, without the stock model: enough to show them, not to apply them.

    :param summary: of the model's record, which tells the expected shares.
    """
    expected = {site["name"]: float(site["planned_sparsity"]) for site in summary["sites"]}
    entries = {}
    for found in pruned_inputs(model):
        whole = found.whole_threshold if found.whole_threshold.size else None
        entries[found.site] = SitePlan(found.site, found.threshold, found.center, expected.get(found.site, 0.0), None, whole)
    return SparsityPlan(SparsityConfig(), str(summary.get("fingerprint", "")), (), entries)


def pruned_sites(model: ov.Model) -> set[str]:
    """Names of the sites that a graph of either form prunes, as their patterns and ops carry them."""
    ordered = model.get_ordered_ops()
    found = {_site_of(pattern) for pattern in [*match_patterns(model), *(pattern for pattern, _, _ in _expert_patterns(ordered))]}
    for node in ordered:
        if node.get_type_name() == OP_NAME:
            found.add(names_of(node)[0])
        elif node.get_type_name() == EXPERTS_OP_NAME:
            found |= set(node.get_friendly_name().removeprefix(PREFIX).partition("|")[0].split(",")) - {""}
    return found


def _expert_patterns(ordered: Sequence[ov.Node]) -> Iterator[tuple[Pattern, ExpertBlock, tuple[ov.Node, ...]]]:
    """Our patterns at both places of layers of routed experts, with the products that read them."""
    for block in match_experts(ordered)[0]:
        for pattern, layers in ((block.pruned_source, block.up), (block.pruned_hidden, (block.down,))):
            if pattern is not None:
                yield pattern, block, layers


def _site_of(pattern: Pattern) -> str:
    return str(pattern.select.get_friendly_name().removeprefix(PREFIX))


def is_lowered(model: ov.Model) -> bool:
    """Whether a model holds an op of ours."""
    return any(op.get_type_name() in OP_NAMES for op in model.get_ops())


def take_apart(model: ov.Model) -> tuple[SparsityPlan, ov.Model]:
    """The plan that is in a sparse model, and the stock model; the given model is not changed.

    Expected sparsities are those that were noted in the model, 0 where nothing is.

    :raises BadModelError: a layer is pruned that is no site of the stock model.
    """
    record = rt_info.read_record(model)
    config = SparsityConfig.from_dict(record["config"]) if record else SparsityConfig()
    stock = raise_(model.clone(), later=Later()).model  # what half-reading loses is removed again, without its values
    found = [
        (p, _site_of(p), [(layer.matmul.get_friendly_name(), layer.compensation) for layer in p.layers]) for p in match_patterns(stock)
    ]
    found += [
        (p, _site_of(p), [(m.get_friendly_name(), None) for m in layers]) for p, _, layers in _expert_patterns(stock.get_ordered_ops())
    ]
    fewer = used_experts(match_experts(stock.get_ordered_ops())[0])
    stock = RemoveSparsity()(stock).model
    matches = find_sites(stock, lm_head=True).matches
    routers = {match.site.name: match.block.ids.get_node().get_instance_id() for match in matches if match.block is not None}
    experts = {name: fewer[router] for name, router in routers.items() if router in fewer}
    sites = {layer.name: match.site for match in matches for layer in match.site.layers}
    named = {match.site.name: match.site for match in matches}
    told = {site["name"]: site for site in record["summary"]["sites"]} if record else {}
    entries = {}
    for pattern, own, compensation in found:
        missing = [name for name, _ in compensation if name not in sites]
        if missing:
            msg = f"the layer {missing[0]} is pruned, but is no site of the stock model inside; apply the plan to the stock model again"
            raise BadModelError(msg)
        site = named.get(own) or sites[compensation[0][0]]
        whole = pattern.whole_threshold if pattern.whole_threshold.size else None
        share = told.get(site.name, {}).get("planned_sparsity", 0.0)
        reads = {} if whole is None else told.get(site.name, {})
        entries[site.name] = SitePlan(site.name, pattern.threshold, pattern.center, share, _joined(site, compensation), whole,
                                      reads.get("dropped"), reads.get("half", 0.0))  # fmt: skip
    left = with_experts(tuple(named.values()), experts)
    return SparsityPlan(config, fingerprint(stock), left, entries, experts=experts), stock


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
