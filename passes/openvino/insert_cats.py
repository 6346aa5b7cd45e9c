"""Insert CATS: a threshold on |act(gate)| whose mask up's output and down's input share. After: find_sites. Before: lower_sparse_matmul.

    act(gate) ─▶ Select(|act(gate)| > τ, act(gate), 0) ─▶ Multiply(·, up) ─▶ down

What the gate drops is an exact zero in down's input, so down gets the ordinary pattern with τ = 0 and skips those rows when it is lowered;
the rows of up that are multiplied by zero are computed all the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.errors import BadModelError
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.portable_pattern import PREFIX, PatternWriter
from scap_ov.passes.rules.beyond import beyond
from scap_ov.passes.rules.sites import FoundSites
from scap_ov.plan import SparsityPlan
from scap_ov.sites import SiteKind

CATS = PREFIX + "cats."  # of the friendly name of a gate's Select


class InsertCats(Pass[ov.Model]):
    """Mask the gates of the plan's down sites, in place.

    1. Rows are pruned by the same policy as everywhere.
    2. Entries of other sites are left out: the mask of a gate serves both up and down.

    :param plan: of method `cats`; the threshold of a down site applies to |act(gate)|.
    :param found: the sites of the graph that the pass is called on, where they are known; the plan is then taken to be its own.
    :raises BadModelError: a down site is fed by no gate.
    """

    def __init__(self, plan: SparsityPlan, *, found: FoundSites | None = None) -> None:
        self._plan, self._found = plan, found

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Insert masks and patterns."""
        from scap_ov.passes.openvino.gate_activation import gate_activation

        gates: dict[str, tuple[ov.Output, ov.Input]] = {}
        for match in (self._found or find_sites(model)).matches:
            if match.site.kind is SiteKind.DOWN and match.site.name in self._plan.entries:
                gate = gate_activation(match.source)
                if gate is None:
                    msg = f"cats needs a gated FFN, and site {match.site.name} is fed by none; use another method"
                    raise BadModelError(msg)
                product = match.source.get_node()
                product = product.input_value(0).get_node() if product.get_type_name() == "Convert" else product
                gates[match.site.name] = gate, next(p for p in product.inputs() if p.get_source_output() == gate)
        nothing = np.zeros(1, np.float32)
        entries = {name: replace(self._plan.entries[name], threshold=nothing, center=nothing) for name in gates}
        result = InsertSparsity(replace(self._plan, entries=entries), found=self._found)(model)
        config = self._plan.config
        for name, (gate, port) in gates.items():
            threshold = ops.constant(np.asarray(self._plan.entries[name].threshold, np.float32)).output(0)
            masked = ops.select(_keep(gate, threshold, config.rows, config.max_sparse_rows), gate, _zero(gate))
            masked.set_friendly_name(CATS + name)
            port.replace_source_output(masked.output(0))
        model.validate_nodes_and_infer_types()
        return PassResult(model, bool(gates), result.skipped)


def gate_masks(model: ov.Model) -> dict[str, ov.Node]:
    """The Select of every masked gate, by the name of its down site."""
    found = {op.get_friendly_name(): op for op in model.get_ops() if op.get_type_name() == "Select"}
    return {name.removeprefix(CATS): op for name, op in found.items() if name.startswith(CATS)}


def mask_every_row(model: ov.Model) -> None:
    """Give every masked gate the policy `all`, in place, as evaluation in one pass needs it."""
    for mask in gate_masks(model).values():
        gate = mask.input_value(1)
        threshold = _threshold(mask.input_value(0).get_node())
        mask.input(0).replace_source_output(_keep(gate, threshold, "all", 1))
    model.validate_nodes_and_infer_types()


def _keep(gate: ov.Output, threshold: ov.Output, rows: str, max_sparse_rows: int) -> ov.Output:
    writer = PatternWriter("", gate, [], rows, max_sparse_rows)
    x = gate if gate.get_element_type() == ov.Type.f32 else ops.convert(gate, np.float32).output(0)
    if rows == "decode":
        threshold = ops.select(writer.few_rows(), threshold, ops.constant(np.float32(-1))).output(0)
    keep = beyond(ops.abs(x), threshold)
    exempt = writer.first_position() if rows == "all" else None
    return (keep if exempt is None else ops.logical_or(keep, exempt)).output(0)


def _threshold(keep: ov.Node) -> ov.Output:
    """The constant behind a condition that `_keep` wrote."""
    while keep.get_type_name() not in ("LessEqual", "Greater"):  # the latter in older files
        keep = keep.input_value(0).get_node()
    value = keep.input_value(1)
    return value.get_node().input_value(1) if value.get_node().get_type_name() == "Select" else value


def _zero(gate: ov.Output) -> ov.Output:
    zero = ops.constant(np.float32(0)).output(0)
    return zero if gate.get_element_type() == ov.Type.f32 else ops.convert(zero, gate.get_element_type().get_type_name()).output(0)
