"""Turn scap_ov::SparseExperts back into standard ops. Undoes: lower_experts. Before: remove_sparsity, for the stock model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino import experts_op
from scap_ov.passes.openvino.decompression import decompressed
from scap_ov.passes.openvino.half_reads import Later, residual
from scap_ov.passes.openvino.lower_experts import names_in
from scap_ov.passes.openvino.match_experts import match_experts
from scap_ov.passes.openvino.packed_site import LayerWeight, unpack_site
from scap_ov.passes.openvino.portable_pattern import PatternWriter
from scap_ov.passes.openvino.remove_sparsity import replace_output
from scap_ov.passes.openvino.write_experts import ExpertLayers, write_experts
from scap_ov.passes.rules.experts import Activation
from scap_ov.passes.rules.match_pattern import EVERY_ROW

_NONE = np.zeros(0, np.float32)


class RaiseExperts(Pass[ov.Model]):
    """Write the tiled block and the portable patterns that every op stands for, in place. No library is needed once the model is read.

    1. Raw values, scales and zero points are those that were lowered, bit for bit; bf16 scales come back as f32 of the same value.
    2. The block is the one that optimum-cli writes, which the CPU plugin recognises once the patterns are removed.
    3. Products get their names back.
    4. Where nothing was to be dropped at one of the two places, no pattern is written there. Weights in planes, with a whole_threshold,
       are read by half in the pattern.
    5. A second run changes nothing.
    6. Of ops with levels, one level is written.

    :param level: the level to write; by default that which the model starts with.
    :param later: takes in what fills in the values of what half-reading loses, which are left out then.
    :raises UsageError: the model has levels, and not this one.
    """

    def __init__(self, level: float | None = None, later: Later | None = None) -> None:
        self._level, self._later = level, later

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Raise all ops."""
        nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == experts_op.OP]
        for node in nodes:
            _raise(node, self._level, self._later)
        if nodes:
            model.validate_nodes_and_infer_types()
        return PassResult(model, bool(nodes))


def _raise(node: ov.Node, level: float | None, later: Later | None) -> None:
    experts = experts_op.read(node, level)
    x, ids, routing = (node.input_value(port) for port in range(3))
    count, dtype = len(experts.up.sites), x.get_element_type()
    layers = [(experts.up, w) for w in _weights(experts.up)] + [(experts.down, w) for w in _weights(experts.down)]
    values = [decompressed(stage.sites[0], weight, dtype, count) for stage, weight in layers]
    sites, names = names_in(node.get_friendly_name(), len(values))
    biases = tuple(stage.bias if stage.bias.size else None for stage in (experts.up, experts.down))
    layers_of = ExpertLayers(values[:-1], values[-1], names, (biases[0], biases[1]))
    activation = Activation(experts.activation, experts.alpha, experts.limit)
    result = write_experts(x, ids, routing, layers_of, activation)
    lead = ops.slice(ops.shape_of(x), np.array([0]), np.array([-1]), np.array([1]))
    width = ops.constant(np.array([result.get_partial_shape()[-1].get_length()], np.int64))
    shaped = ops.reshape(result, ops.concat([lead, width], 0), special_zero=False)
    replace_output(node.output(0), shaped.output(0))
    (block,), _ = match_experts([result.get_node()])
    rows = "every" if experts.rows == "decode" and experts.max_sparse_rows == EVERY_ROW else experts.rows
    places = ((experts.up, x, block.tile, block.up), (experts.down, block.hidden, block.down, (block.down,)))
    for name, (stage, source, reader, products) in zip(sites, places, strict=True):
        if name:
            lead_ones = [1] * (len(source.get_partial_shape()) - 1)
            threshold, center, whole = (
                ops.constant(values.reshape([*lead_ones, -1])).output(0) if values.size else None
                for values in (stage.threshold, stage.center if stage.center.any() else _NONE, stage.whole_threshold)
            )
            assert threshold is not None  # noqa: S101 - every op has one
            own = [weight for of, weight in layers if of is stage] if whole is not None else []
            residuals = [
                residual(weight.raw, weight.scale, stage.sites[0].group_size, dtype, count, later)
                for weight in own
                if weight.scale is not None
            ]
            writer = PatternWriter(name, source, [reader], rows, experts.max_sparse_rows, products=products,
                                   tokens=x if reader is block.down else None)  # fmt: skip
            writer.write(threshold, center, None, whole, residuals)


def _weights(stage: experts_op.Stage) -> Sequence[LayerWeight]:
    """The stored weight of each product, all experts one behind the other."""
    found = []
    for parts in zip(*(unpack_site(site) for site in stage.sites), strict=True):
        raw, scale, zero = ([getattr(part, what) for part in parts] for what in ("raw", "scale", "zero_point"))
        found.append(LayerWeight(np.concatenate(raw), *(None if v[0] is None else np.concatenate(v) for v in (scale, zero))))
    return found
