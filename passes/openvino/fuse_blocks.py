"""Join the ops between the attention of a Transformer block and that of the next into one. After: lowering. Undone by: split_blocks."""

from __future__ import annotations

from itertools import count

import openvino as ov

from scap_ov.custom_ops import BLOCK_OP_NAME
from scap_ov.passes.base import Pass, PassResult
from scap_ov.passes.openvino import block_op, sparse_op
from scap_ov.passes.openvino.aligned import aligned_constant
from scap_ov.passes.openvino.joined_constant import JoinedConstant
from scap_ov.passes.openvino.match_block import match_block
from scap_ov.passes.openvino.portable_pattern import PREFIX
from scap_ov.passes.openvino.remove_sparsity import replace_output


class FuseBlocks(Pass[ov.Model]):
    """Write a SparseBlock wherever match_block finds one, in place.

    1. Packed weights, attributes and names go along; what is computed is the same to the rounding of the norms.
    2. Blocks that are built otherwise are left as they are.
    3. A second run changes nothing.

    :param unfilled: takes in the constants of the new ops by their names, instead of filling them: for who writes a file from the parts,
        which then are in memory once.
    :raises ExtensionError: the library is missing or does not fit, and there is something to fuse.
    """

    def __init__(self, unfilled: dict[str, JoinedConstant] | None = None) -> None:
        self._unfilled = unfilled

    def call(self, model: ov.Model) -> PassResult[ov.Model]:
        """Fuse all blocks."""
        create, numbers = None, count()
        for node in model.get_ordered_ops():
            found = match_block(node)
            if found is None:
                continue
            create = create or sparse_op.creator(BLOCK_OP_NAME)
            joined = block_op.joined(found.block)
            constant = aligned_constant(joined.data)
            constant.set_friendly_name(f"{PREFIX}fused.{next(numbers)}")
            if self._unfilled is None:
                joined.fill()
            else:
                self._unfilled[constant.get_friendly_name()] = joined
            op = block_op.build(create, found.x, found.h, found.block, constant, joined.starts)
            if found.last is not None:
                for number in range(found.last.get_output_size()):
                    replace_output(found.last.output(number), op.output(number + 1))
            replace_output(found.sum, op.output(0))
        if create is not None:
            model.validate_nodes_and_infer_types()
        return PassResult(model, create is not None)
