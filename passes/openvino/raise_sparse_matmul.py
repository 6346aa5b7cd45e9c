"""Turn scap_ov::SparseMatMul back into standard ops. Undoes: lower_sparse_matmul. Before: remove_sparsity, for the stock model."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.custom_ops import OP_NAME
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino import sparse_op
from scap_ov.passes.openvino.decompression import decompressed
from scap_ov.passes.openvino.half_reads import Later, residual
from scap_ov.passes.openvino.packed_site import unpack_site
from scap_ov.passes.openvino.portable_pattern import PatternWriter
from scap_ov.passes.openvino.remove_sparsity import replace_output
from scap_ov.passes.openvino.split_blocks import SplitBlocks
from scap_ov.passes.rules.match_pattern import EVERY_ROW
from scap_ov.passes.rules.tensors import Key, key_of


class RaiseSparseMatMul(Pass[ov.Model]):
    """Write the portable pattern and the layers that every op stands for, in place. No library is needed once the model is read.

    1. Raw values, scales and zero points are those that were lowered, bit for bit; bf16 scales come back as f32 of the same value.
    2. The decompression chain is the one that optimum-cli writes, which the CPU plugin fuses; weights are [N, K] with transpose_b.
    3. Layers get their names back.
    4. Ops of one site share one pattern; weights in planes get back what half-reading loses beside their chain.
    5. A second run changes nothing.
    6. Of ops with levels, one level is written.
    7. Fused blocks are split first.

    :param level: the level to write; by default that which the model starts with.
    :param later: takes in what fills in the values of what half-reading loses, which are left out then.
    :raises UsageError: the model has levels, and not this one.
    """

    def __init__(self, level: float | None = None, later: Later | None = None) -> None:
        self._level, self._later = level, later

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Raise all ops."""
        split = SplitBlocks()(model).modified
        sites: dict[tuple[Key, str], list[ov.Node]] = {}
        for node in model.get_ordered_ops():
            if node.get_type_name() == OP_NAME:
                sites.setdefault((key_of(node.input_value(0)), sparse_op.names_of(node)[0]), []).append(node)
        for nodes in sites.values():
            _raise_site(nodes, self._level, self._later)
        if sites:
            model.validate_nodes_and_infer_types()
        return PassResult(model, split or bool(sites))


def _raise_site(nodes: list[ov.Node], level: float | None, later: Later | None) -> None:
    x = nodes[0].input_value(0)
    matmuls, extras, compensated = [], [], False
    pruning = sparse_op.read(nodes[0], level)[1]
    whole = np.zeros(0, np.float32)
    residuals: list[ov.Output | None] = []
    for node in nodes:
        packed, own = sparse_op.read(node, level)
        whole = own.whole_threshold if own.whole_threshold.size else whole
        compensated |= bool(own.compensation.size)
        extra = own.compensation if own.compensation.size else np.zeros(sum(packed.sizes), np.float32)
        extras += sparse_op.split_sizes(extra, packed.sizes)
        for number, (name, weight) in enumerate(zip(sparse_op.names_of(node)[1], unpack_site(packed), strict=True)):
            matmul = ops.matmul(x, decompressed(packed, weight, x.get_element_type()), False, True)
            matmul.set_friendly_name(name)
            replace_output(node.output(number), matmul.output(0))
            matmuls.append(matmul)
            lost = None
            if own.whole_threshold.size and weight.scale is not None:
                lost = residual(weight.raw, weight.scale, packed.group_size, matmul.get_input_element_type(1), later=later)
            residuals.append(lost)
    lead = [1] * (len(x.get_partial_shape()) - 1)
    center = ops.constant(pruning.center.reshape([*lead, -1])).output(0) if pruning.center.any() else None
    compensation = [ops.constant(extra).output(0) for extra in extras] if compensated else None
    rows = "every" if pruning.rows == "decode" and pruning.max_sparse_rows == EVERY_ROW else pruning.rows
    writer = PatternWriter(sparse_op.names_of(nodes[0])[0], x, matmuls, rows, pruning.max_sparse_rows, pruning.ramp)
    above = ops.constant(whole.reshape([*lead, -1])).output(0) if whole.size else None
    writer.write(ops.constant(pruning.threshold.reshape([*lead, -1])).output(0), center, compensation, above, residuals)
