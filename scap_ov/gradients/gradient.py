"""Reverse-mode differentiation of an OpenVINO graph: the gradient becomes part of the graph and runs on the plugin, without torch.

Each operation on the way needs a rule (gradient_rules); quantised weights keep their form.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import openvino as ov
from openvino import opset13 as ops

from scap_ov.errors import BadModelError
from scap_ov.gradients.gradient_rules import FLAT, RULES, SPLITS, joined
from scap_ov.gradients.operands import zeros_like
from scap_ov.gradients.pruning_gradient import through_pruning
from scap_ov.gradients.reach import reached
from scap_ov.passes.rules.tensors import Key, key_of


def gradients(
    ordered: Sequence[ov.Node],
    seeds: Sequence[tuple[ov.Output, ov.Output]],
    wanted: Sequence[ov.Output],
    *,
    pruning: Collection[ov.Node] = (),
) -> list[ov.Output]:
    """Add the gradients of a scalar to a graph.

    :param ordered: the graph's nodes in topological order.
    :param seeds: pairs of an output of the graph and the scalar's gradient with respect to it.
    :param wanted: tensors to differentiate with respect to.
    :param pruning: nodes that prune, to be differentiated by `through_pruning`.
    :return: a gradient for each wanted tensor, of its shape.
    :raises BadModelError: an operation on the way has no rule, or a wanted tensor does not reach the seeds.
    """
    onward = reached(ordered, wanted)
    sums: dict[Key, ov.Output] = {}
    through = {node.get_instance_id() for node in pruning}
    for value, gradient in seeds:
        _accumulate(sums, value, gradient)
    for node in reversed(ordered):
        arrived = [i for i in range(node.get_output_size()) if key_of(node.output(i)) in sums]
        need = [key_of(value) in onward for value in node.input_values()]
        kind = node.get_type_name()
        if not arrived or not any(need) or kind in FLAT:
            continue
        if kind in SPLITS:
            parts = [sums.get(key_of(output)) or zeros_like(output) for output in node.outputs()]
            _accumulate(sums, node.input_value(0), joined(node, parts))
            continue
        if kind not in RULES or arrived != [0]:
            msg = f"the operation {kind} ({node.get_friendly_name()}) has no gradient rule; calibrate without gradients"
            raise BadModelError(msg)
        rule = through_pruning if node.get_instance_id() in through else RULES[kind]
        for value, part in zip(node.input_values(), rule(node, sums[key_of(node.output(0))], need), strict=True):
            if part is not None and key_of(value) in onward:
                _accumulate(sums, value, part)
    lost = [value.get_node().get_friendly_name() for value in wanted if key_of(value) not in sums]
    if lost:
        msg = f"{len(lost)} tensors do not reach the output ({', '.join(lost[:3])}), so there is no gradient; calibrate without gradients"
        raise BadModelError(msg)
    return [sums[key_of(value)] for value in wanted]


def _accumulate(sums: dict[Key, ov.Output], value: ov.Output, part: ov.Output) -> None:
    key = key_of(value)
    sums[key] = ops.add(sums[key], part).output(0) if key in sums else part
