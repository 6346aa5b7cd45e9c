"""All passes that bring a model into the fast form, and back, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import openvino as ov

from scap_ov.passes.base import PassResult
from scap_ov.passes.openvino.fewer_experts import FewerExperts
from scap_ov.passes.openvino.half_reads import Later
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.keep_slicing import DropSlicing, KeepSlicing
from scap_ov.passes.openvino.level_blocks import PlannedLevels
from scap_ov.passes.openvino.lower_experts import LowerExperts
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.raise_experts import RaiseExperts
from scap_ov.passes.openvino.raise_sparse_matmul import RaiseSparseMatMul
from scap_ov.passes.rules.sites import FoundSites
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.progress import Progress


def lower(
    model: ov.Model, *, dynamic_quantization: bool = True, levels: PlannedLevels | None = None, progress: Progress | None = None
) -> PassResult[ov.Model]:
    """Our ops instead of every portable pattern, in place.

    :param levels: of the plan that was inserted, where it has any.
    :param progress: sites done, sites in all, routed experts apart.
    :return: with what stayed portable, and why.
    :raises ExtensionError: the library is missing or does not fit, and there is something to lower.
    """
    results = [LowerExperts(dynamic_quantization=dynamic_quantization, levels=levels)(model),
               LowerSparseMatMul(dynamic_quantization=dynamic_quantization, levels=levels, progress=progress)(model)]  # fmt: skip
    results.append(KeepSlicing()(model))
    return _together(model, results)


def insert_and_lower(
    model: ov.Model, plan: SparsityPlan, found: FoundSites, *, levels: PlannedLevels | None = None, progress: Progress | None = None
) -> tuple[PassResult[ov.Model], PassResult[ov.Model]]:
    """Our ops at the sites of a plan, in place, one Transformer block after the other.

    What the portable form holds beside the weights, half as much again where they are read by half, is in memory for one block only.

    :param found: the sites of this very graph.
    :param levels: of the plan, where it has any; `plan` then is its widest form.
    :param progress: sites done, sites in all, routed experts apart.
    :return: of inserting, with what stayed stock; and of lowering, with what stayed portable.
    :raises BadModelError: the plan has tokens use fewer experts, and the graph does not follow.
    :raises ExtensionError: the library is missing or does not fit, and there is something to lower.
    """
    quantise = plan.config.dynamic_quantization
    matches = {match.site.name: match for match in found.matches}
    parts: dict[int, dict[str, SitePlan]] = {}
    for name, entry in plan.entries.items():
        parts.setdefault(matches[name].site.block if name in matches else -1, {})[name] = entry
    done, total = 0, sum(name in matches and matches[name].block is None for name in plan.entries)
    inserted, lowered = [FewerExperts(plan.experts, {name: match.block for name, match in matches.items()})(model)], []
    for entries in parts.values():
        later = Later()
        insert = InsertSparsity(replace(plan, entries=entries, experts={}), found=found, validates=False, later=later)
        inserted.append(insert(model))
        routed = [matches[name].block for name in insert.written]
        sums = {block.result.get_node().get_instance_id(): block.result.get_node() for block in routed if block is not None}
        lowered.append(LowerExperts(dynamic_quantization=quantise, levels=levels, among=list(sums.values()), later=later)(model))
        selects = [select for name, select in insert.written.items() if matches[name].block is None]
        told = None if progress is None else partial(_of_all, progress, done, total)
        lowered.append(LowerSparseMatMul(dynamic_quantization=quantise, levels=levels, among=selects, later=later, progress=told)(model))
        later.fill()
        done += len(selects)
    model.validate_nodes_and_infer_types()
    lowered.append(KeepSlicing()(model))
    return _together(model, inserted), _together(model, lowered)


def _together(model: ov.Model, results: Sequence[PassResult[ov.Model]]) -> PassResult[ov.Model]:
    return PassResult(model, any(r.modified for r in results), [pair for r in results for pair in r.skipped])


def _of_all(progress: Progress, before: int, total: int, done: int, _: int | None) -> None:
    progress(before + done, total)


def raise_(model: ov.Model, level: float | None = None, later: Later | None = None) -> PassResult[ov.Model]:
    """Standard ops instead of ours, in place: the portable form, with the weights that went in, bit for bit.

    :param level: of a model with levels, the one to write; by default that which the model starts with.
    :param later: takes in what fills in the values of what half-reading loses, which are left out then.
    :raises UsageError: the model has levels, and not this one.
    """
    results = [DropSlicing()(model), *(made(level, later)(model) for made in (RaiseExperts, RaiseSparseMatMul))]
    return PassResult(model, any(r.modified for r in results))
