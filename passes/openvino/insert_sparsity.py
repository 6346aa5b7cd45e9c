"""Insert the Shift-Threshold-MatMul pattern of a plan. After: find_sites. Before: lower_sparse_matmul. Undone by: remove_sparsity."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.errors import MismatchError
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino.fewer_experts import FewerExperts
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.half_reads import Later, residual
from scap_ov.passes.openvino.portable_pattern import PatternWriter
from scap_ov.passes.openvino.runtime_inputs import RuntimeInputs
from scap_ov.passes.openvino.time_axis import time_first
from scap_ov.passes.rules.planned import planned, site_compensation
from scap_ov.passes.rules.sites import FoundSites, SiteMatch
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import SiteKind

_log = logging.getLogger(__name__)


class InsertSparsity(Pass[ov.Model]):
    """Prune the input of every site that the plan has an entry for, in place, as docs/packing.md writes it.

    1. An entry x is kept where |x − c| > τ, and replaced by c elsewhere; the comparison is in f32 whatever x is.
    2. `rows="decode"`: τ counts when x has at most `plan.rows_of(site)` rows, all leading dimensions together; else nothing is dropped.
    3. `rows="all"`: τ counts for every row, but position 0 of a sequence of several is computed dense: of axis 1 where x is [B, T, K],
       of axis 0 where it is [T, B, K].
    4. Compensation is added to the output of pruned rows only.
    5. Layers of a site that read it through a Convert or Reshape of their own keep that.
    6. With `runtime_inputs`, thresholds, centres and compensation become parameters of the model (see `runtime_inputs.RuntimeInputs`,
       kept in `self.inputs`), every site is pruned whatever the plan's entries, and the policy is that of rule 3.
    7. An entry of a plan with a whole_threshold τ₁ takes off what the high plane of the weights misses where τ < |x − c| ≤ τ₁
       (see half_reads); a layer whose weights are not of 8 bits is read whole there.
    8. With `ramp`, a kept entry is moved towards c by max(0, τ − (|x − c| − τ) / ramp), so that nothing jumps at the threshold.
    9. Routers choose fewer experts where the plan says so (see fewer_experts).
    10. Routed experts: the policy goes by the tokens, of which all experts' inputs have a row each; no compensation, and no ramp: with one,
       they are left stock.

    :param plan: of this very model.
    :param found: the sites of the graph that the pass is called on, where they are known; the plan is then taken to be its own.
    :param graded: with `runtime_inputs`, a parameter for the thresholds up to which channels are read by half too.
    :param validates: infer all shapes of the model again; who goes on with `self.written`, the Selects by name of the site, does it later.
    :param later: takes in what fills in the values of rule 7, which are left out then.
    :raises MismatchError: the plan belongs to another model.
    :raises BadModelError: the model is sparse already.
    """

    def __init__(
        self, plan: SparsityPlan, *, found: FoundSites | None = None, runtime_inputs: bool = False, graded: bool = False,
        validates: bool = True, later: Later | None = None,
    ) -> None:  # fmt: skip
        self._plan, self._found, self._validates, self._later = plan, found, validates, later
        self.written: dict[str, ov.Node] = {}
        self._runtime = runtime_inputs
        self._graded = graded
        self.inputs: RuntimeInputs | None = None

    def requires(self, model: ov.Model) -> None:
        """The plan is this model's."""
        if self._found is None and fingerprint(model) != self._plan.fingerprint:
            msg = "the plan belongs to another model (the fingerprints differ); calibrate this model, or give the one it was made from"
            raise MismatchError(msg)

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Insert the pattern."""
        matches = planned(self._found or find_sites(model, lm_head=True), self._plan)
        fewer = FewerExperts(self._plan.experts, {name: match.block for name, match in matches.items()})(model)
        config = self._plan.config
        rows = "all" if self._runtime else config.rows
        wanted = [name for name in matches if self._runtime or name in self._plan.entries]
        blocks = {name: matches[name].block for name in wanted}
        sources = [matches[name].source if block is None else block.source for name, block in blocks.items()] if rows == "all" else []
        turned = {name for name, turn in zip(wanted, time_first(model, sources), strict=False) if turn}
        if self._runtime:
            graded = self._graded and any(match.site.two_planes for match in matches.values())
            self.inputs = RuntimeInputs(model, [match.site for match in matches.values()], graded=graded)
            for match in matches.values():
                whole = self.inputs.whole_of(match.site, _rank(match.source)) if match.site.two_planes else None
                threshold, center, compensation = self.inputs.of(match.site, _rank(match.source))
                writer = _writer(match, rows, 0, config.ramp, time_first=match.site.name in turned)
                writer.write(
                    threshold, center, None if match.block else compensation, whole, _residuals(match) if whole is not None else ()
                )
        entries = {} if self._runtime else dict(self._plan.entries)
        skipped = [(name, "a ramp does not go with routed experts") for name in entries if config.ramp and matches[name].block]
        for name in (name for name in matches if name in entries and name not in dict(skipped)):
            values = _constants(matches[name], entries[name], self._plan)
            writer = _writer(matches[name], rows, self._plan.rows_of(name), config.ramp, time_first=name in turned)
            self.written[name] = writer.write(*values, *_by_half(matches[name], entries[name], self._later)).pruned
        if self._validates:
            model.validate_nodes_and_infer_types()
        _log.info("inserted sparsity at %d sites", len(matches if self._runtime else entries) - len(skipped))
        return PassResult(model, bool(self._runtime or len(entries) > len(skipped)) or fewer.modified, skipped)


def _writer(match: SiteMatch, rows: str, max_sparse_rows: int, ramp: float, *, time_first: bool) -> PatternWriter:
    tokens = match.block.source if match.block is not None and match.site.kind is SiteKind.EXPERT_DOWN else None
    return PatternWriter(match.site.name, match.source, match.readers, rows, max_sparse_rows, ramp, time_first=time_first, tokens=tokens,
                         products=match.matmuls)  # fmt: skip


def _constants(match: SiteMatch, entry: SitePlan, plan: SparsityPlan) -> tuple[ov.Output, ov.Output | None, list[ov.Output] | None]:
    lead = [1] * (_rank(match.source) - 1)
    threshold = ops.constant(np.asarray(entry.threshold, np.float32).reshape([*lead, -1])).output(0)
    center = None
    if np.any(entry.center):
        center = ops.constant(np.asarray(entry.center, np.float32).reshape([*lead, -1])).output(0)
    parts = site_compensation(match.site, entry, plan)
    return threshold, center, None if parts is None else [ops.constant(part).output(0) for part in parts]


def _by_half(match: SiteMatch, entry: SitePlan, later: Later | None) -> tuple[ov.Output | None, Sequence[ov.Output | None]]:
    """τ₁ and what the layers lose by it. Rule 7."""
    residuals = [] if entry.whole_threshold is None else _residuals(match, later)
    if entry.whole_threshold is None or all(lost is None for lost in residuals):
        return None, ()
    lead = [1] * (_rank(match.source) - 1)
    return ops.constant(np.asarray(entry.whole_threshold, np.float32).reshape([*lead, -1])).output(0), residuals


def _residuals(match: SiteMatch, later: Later | None = None) -> list[ov.Output | None]:
    """What the high plane misses of every layer's weight; None where that is not of 8 bits."""
    return [
        None if weight.spec.bits != 8 or weight.scale is None
        else residual(weight.raw(), weight.scale, weight.spec.group_size, matmul.get_input_element_type(1), match.site.experts, later)
        for matmul, weight in zip(match.matmuls, match.weights, strict=True)
    ]  # fmt: skip


def _rank(value: ov.Output) -> int:
    return len(value.get_partial_shape())
