"""Insert the Shift-Threshold-MatMul pattern of a plan in standard ops. After: find_sites, fitting. Before: lower_sparse_matmul. Undone by: remove_sparsity."""

from __future__ import annotations

import logging

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.errors import MismatchError
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino.find_sites import SiteMatch, carries_channels, find_sites, fingerprint
from scap_ov.passes.openvino.runtime_inputs import RuntimeInputs
from scap_ov.plan import SitePlan, SparsityPlan

_log = logging.getLogger(__name__)
PREFIX = "scap_ov."  # of the friendly name of a site's Select


class InsertSparsity(Pass[ov.Model]):
    """Prune the input of every site that the plan has an entry for, in place, as docs/packing.md writes it.

    1. An entry x is kept where |x − c| > τ, and replaced by c elsewhere; the comparison is in f32 whatever x is.
    2. `rows="decode"`: τ counts when x has at most `max_sparse_rows` rows, all leading dimensions together; otherwise nothing is dropped.
    3. `rows="all"`: τ counts for every row, but position 0 of axis 1 where x is [B, T, K] with T > 1 is computed dense.
    4. Compensation is added to the output of pruned rows only.
    5. Layers of a site that read it through a Convert or Reshape of their own keep that.
    6. With `runtime_inputs`, thresholds, centres and compensation become parameters of the model (see `runtime_inputs.RuntimeInputs`,
       kept in `self.inputs`), every site is pruned whatever the plan's entries, and the policy is that of rule 3.

    :param plan: of this very model.
    :raises MismatchError: the plan belongs to another model.
    :raises BadModelError: the model is sparse already.
    """

    def __init__(self, plan: SparsityPlan, *, runtime_inputs: bool = False) -> None:
        self._plan = plan
        self._runtime = runtime_inputs
        self.inputs: RuntimeInputs | None = None

    def requires(self, model: ov.Model) -> None:
        """The plan is this model's."""
        if fingerprint(model) != self._plan.fingerprint:
            msg = "the plan belongs to another model (the fingerprints differ); calibrate this model, or give the one it was made from"
            raise MismatchError(msg)

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Insert the pattern."""
        matches = {match.site.name: match for match in find_sites(model, lm_head=True).matches}
        for name, entry in self._plan.entries.items():
            if name not in matches:
                msg = f"the plan prunes the site {name}, which the model does not have; fit a plan to a profile of this model"
                raise MismatchError(msg)
            _check_sizes(matches[name], entry)
        rows = "all" if self._runtime else self._plan.config.rows
        if self._runtime:
            self.inputs = RuntimeInputs(model, [match.site for match in matches.values()])
            for match in matches.values():
                _SiteWriter(match, rows, 0).write(*self.inputs.of(match.site, _rank(match.source)))
        else:
            for name, match in matches.items():
                if name in self._plan.entries:
                    values = _constants(match, self._plan.entries[name], self._plan)
                    _SiteWriter(match, rows, self._plan.config.max_sparse_rows).write(*values)
        model.validate_nodes_and_infer_types()
        _log.info("inserted sparsity at %d sites", len(matches if self._runtime else self._plan.entries))
        return PassResult(model, bool(self._runtime or self._plan.entries))


class _SiteWriter:
    """Writes the pattern of one site."""

    def __init__(self, match: SiteMatch, rows: str, max_sparse_rows: int) -> None:
        self._match, self._rows, self._max_rows = match, rows, max_sparse_rows
        self._x = match.source
        self._shape: ov.Node | None = None

    def write(self, threshold: ov.Output, center: ov.Output | None, compensation: list[ov.Output] | None) -> None:
        """Put Select before the layers and the compensation behind them.

        :param threshold: f32, broadcastable to x.
        :param center: the same; None for 0.
        :param compensation: f32 [N] of each layer.
        """
        paths = [_path(matmul, self._x) for matmul in self._match.matmuls]
        exempt = self._first_position() if self._rows == "all" else None
        few = self._few_rows() if self._rows == "decode" else None
        x = self._x if self._x.get_element_type() == ov.Type.f32 else ops.convert(self._x, np.float32).output(0)
        distance = ops.abs(x if center is None else ops.subtract(x, center))
        keep = ops.greater(distance, threshold if few is None else ops.select(few, threshold, ops.constant(np.float32(-1))))
        if exempt is not None:
            keep = ops.logical_or(keep, exempt)
        replacement = ops.constant(np.float32(0)).output(0) if center is None else center
        if self._x.get_element_type() != ov.Type.f32:
            replacement = _as_type(replacement, self._x.get_element_type())
        pruned = ops.select(keep, self._x, replacement)
        pruned.set_friendly_name(PREFIX + self._match.site.name)
        rows_pruned = few if few is not None else ops.logical_not(exempt) if exempt is not None else ops.constant(np.array(True))
        for number, (matmul, path) in enumerate(zip(self._match.matmuls, paths, strict=True)):
            matmul.input(0).replace_source_output(_follow(pruned.output(0), path))
            if compensation is not None:
                self._compensate(matmul, rows_pruned, compensation[number])

    def _compensate(self, matmul: ov.Node, rows_pruned: ov.Node, value: ov.Output) -> None:
        readers = list(matmul.output(0).get_target_inputs())
        extra = ops.select(rows_pruned, value, ops.constant(np.float32(0)))
        dtype = matmul.get_output_element_type(0)
        total = ops.add(matmul, extra if dtype == ov.Type.f32 else _as_type(extra.output(0), dtype))
        total.set_friendly_name(matmul.get_friendly_name() + "/compensated")
        names = matmul.output(0).get_names()
        matmul.output(0).get_tensor().set_names(set())
        total.output(0).get_tensor().set_names(names)
        for reader in readers:
            reader.replace_source_output(total.output(0))

    def _shape_of(self) -> ov.Node:
        if self._shape is None:
            self._shape = ops.shape_of(self._x)
        return self._shape

    def _few_rows(self) -> ov.Node:
        """Whether x has at most max_sparse_rows rows, boolean scalar. Rule 2."""
        lead = ops.slice(self._shape_of(), np.array([0]), np.array([-1]), np.array([1]))
        rows = ops.reduce_prod(lead, np.array(0), keep_dims=False)
        return ops.less_equal(rows, ops.constant(np.array(self._max_rows, np.int64)))

    def _first_position(self) -> ov.Node | None:
        """Which positions of axis 1 stay dense, boolean [T, 1]; None where no row does. Rule 3."""
        shape = self._x.get_partial_shape()
        if len(shape) != 3 or (shape[1].is_static and shape[1].get_length() == 1):
            return None
        length = ops.gather(self._shape_of(), np.array(1), np.array(0))
        first = ops.equal(ops.range(np.array(0), length, np.array(1), output_type="i64"), ops.constant(np.array(0)))
        several = ops.greater(length, ops.constant(np.array(1)))
        return ops.unsqueeze(ops.logical_and(first, several), np.array([1]))


def _constants(match: SiteMatch, entry: SitePlan, plan: SparsityPlan) -> tuple[ov.Output, ov.Output | None, list[ov.Output] | None]:
    lead = [1] * (_rank(match.source) - 1)
    threshold = ops.constant(np.asarray(entry.threshold, np.float32).reshape([*lead, -1])).output(0)
    center = None
    if np.any(entry.center):
        center = ops.constant(np.asarray(entry.center, np.float32).reshape([*lead, -1])).output(0)
    if entry.compensation is None:
        return threshold, center, None
    # the plan's layers may be in another order than this graph's
    site = next(s for s in plan.sites if s.name == entry.site)
    ends = np.cumsum([layer.out_features for layer in site.layers])
    parts = dict(zip([layer.name for layer in site.layers], np.split(np.asarray(entry.compensation, np.float32), ends[:-1]), strict=True))
    return threshold, center, [ops.constant(parts[layer.name]).output(0) for layer in match.site.layers]


def _check_sizes(match: SiteMatch, entry: SitePlan) -> None:
    k, n = match.site.in_features, match.site.out_features
    for what, value, sizes in (("threshold", entry.threshold, (1, k)), ("center", entry.center, (1, k)), ("compensation", entry.compensation, (n,))):
        if value is not None and (value.ndim != 1 or value.size not in sizes):
            msg = f"the plan's {what} of {entry.site} has shape {list(value.shape)}, the model needs {' or '.join(f'[{s}]' for s in sizes)}; fit it again"
            raise MismatchError(msg)


def _rank(value: ov.Output) -> int:
    return len(value.get_partial_shape())


def _path(matmul: ov.Node, source: ov.Output) -> list[ov.Node]:
    """The nodes between a site's tensor and its layer, the first one to run first."""
    path: list[ov.Node] = []
    value = matmul.input_value(0)
    while not (value.get_node().get_instance_id() == source.get_node().get_instance_id() and value.get_index() == source.get_index()):
        node = value.get_node()
        assert carries_channels(node)  # noqa: S101 - find_sites grouped by this very rule
        path.insert(0, node)
        value = node.input_value(0)
    return path


def _follow(value: ov.Output, path: list[ov.Node]) -> ov.Output:
    """Apply copies of nodes to another value."""
    for node in path:
        kind = node.get_type_name()
        if kind == "Convert":
            value = _as_type(value, node.get_element_type())
        elif kind == "Reshape":
            value = ops.reshape(value, node.input_value(1), special_zero=node.get_attributes()["special_zero"]).output(0)
        else:
            axes = [node.input_value(1)] if node.get_input_size() > 1 else []
            value = (ops.squeeze if kind == "Squeeze" else ops.unsqueeze)(value, *axes).output(0)
    return value


def _as_type(value: ov.Output, dtype: ov.Type) -> ov.Output:
    return ops.convert(value, dtype.get_type_name()).output(0)
