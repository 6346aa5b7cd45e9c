"""Give out what happens inside a layer of routed experts for the experts that tokens use, of the tiled block in which all are computed."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.rules.experts import ExpertBlock


def chosen_rows(block: ExpertBlock, value: ov.Output) -> ov.Output:
    """Rows of the experts that each token uses.

    :param value: of all experts and tokens, [E, T, ...].
    :return: [T, k, ...], in the order of `block.ids`.
    """
    rank = len(value.get_partial_shape())
    ids = ops.convert(block.ids, np.int64)
    tokens = ops.gather(ops.shape_of(ids), np.array(0), np.array(0))
    own = ops.unsqueeze(ops.range(np.array(0), tokens, np.array(1), output_type="i64"), np.array(1))
    place = ops.add(ops.multiply(ids, tokens), own)
    rest = ops.slice(ops.shape_of(value), np.array([2]), np.array([rank]), np.array([1]))
    flat = ops.reshape(value, ops.concat([ops.constant(np.array([-1])), rest], 0), special_zero=False)
    return ops.gather(flat, place, np.array(0)).output(0)
