"""Write the ops that every SparseBlock stands for. Undoes: fuse_blocks. Before: whatever looks at the ops of single layers."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.custom_ops import BLOCK_OP_NAME
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino import block_op, sparse_op
from scap_ov.passes.openvino.remove_sparsity import replace_output


class SplitBlocks(Pass[ov.Model]):
    """Write SparseMatMul, norms, sums and activations for every SparseBlock, in place, as exporters write them.

    1. Packed weights stay where they are, in a file say; ops and sums get their names back.
    2. A second run changes nothing.

    :raises ExtensionError: the library is missing or does not fit, and there is something to split.
    """

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Split all blocks."""
        nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == BLOCK_OP_NAME]
        if not nodes:
            return PassResult(model, False)
        create = sparse_op.creator()
        for node in nodes:
            for old, new in zip(node.outputs(), _written(create, node), strict=True):
                replace_output(old, new)
        model.validate_nodes_and_infer_types()
        return PassResult(model, True)


def _written(create: sparse_op.CreateOp, node: ov.Node) -> list[ov.Output]:
    """The outputs of the ops that a block stands for."""
    x, h = node.input_value(0), node.input_value(1)
    block = block_op.read(node)
    sums = [_added(h, _op(create, block.parts["o"], x).output(0), block.sums[0])]
    up = _op(create, block.parts["up"], _normed(sums[0], block.norms[0]))
    gate = ops.swish(up.output(0)) if block.activation == "silu" else ops.gelu(up.output(0), block.activation.removeprefix("gelu_"))
    hidden = ops.multiply(gate, up.output(1)) if up.get_output_size() > 1 else gate
    sums.append(_added(sums[0], _op(create, block.parts["down"], hidden.output(0)).output(0), block.sums[1]))
    if "next" not in block.parts:
        return sums[1:]
    return [sums[1], *_op(create, block.parts["next"], _normed(sums[1], block.norms[1])).outputs()]


def _op(create: sparse_op.CreateOp, part: block_op.Part, x: ov.Output) -> ov.Node:
    packed = ov.op.Constant(np.asarray(_Shared(part.packed)), shared_memory=True)
    op = create([x, packed.output(0)], dict(part.attributes))
    op.set_friendly_name(part.name)
    return op


class _Shared:
    """An array that numpy takes for one that may be written, as openvino asks of what it shares; of a mapped file it must not be."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array  # stays alive as long as what is made of it
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _added(h: ov.Output, value: ov.Output, name: str) -> ov.Output:
    total = ops.add(h, value)
    total.set_friendly_name(name)
    return total.output(0)


def _normed(x: ov.Output, norm: block_op.Norm) -> ov.Output:
    """RMS norm, x · 1 / sqrt(mean(x²) + ε) · gamma, spelt as optimum-cli does; the CPU plugin makes one node of it."""
    lead = [1] * (len(x.get_partial_shape()) - 1)

    def scalar(value: float) -> ov.Node:
        return ops.constant(np.full([*lead, 1], value, np.float32))

    mean = ops.reduce_mean(ops.power(x, scalar(2)), ops.constant(np.array([-1])), keep_dims=True)
    scale = ops.divide(scalar(1), ops.sqrt(ops.add(mean, scalar(norm.epsilon))))
    gamma = ops.constant(np.array(norm.gamma).reshape([*lead, -1]))
    return ops.multiply(ops.multiply(scale, x), gamma).output(0)
