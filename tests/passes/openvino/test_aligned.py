"""Packed constants begin with a page, in memory as in a file, and keep their memory."""

from __future__ import annotations

import gc

import openvino as ov
import pytest
from pruned_layers import plan_of
from small_llm import small_llm

from scap_ov.backends.openvino import rewrite
from scap_ov.passes.openvino.fuse_blocks import FuseBlocks


@pytest.mark.parametrize("fused", [False, True])
def test_packed_constants_begin_with_a_page(fused: bool) -> None:
    model = small_llm("i8")
    lowered = rewrite(model, plan_of(model, 0.2, lm_head=False), "lowered", {})
    if fused:
        FuseBlocks()(lowered)
    del model
    gc.collect()
    constants = [node.input_value(node.get_input_size() - 1).get_node() for node in _ours(lowered)]
    assert constants
    assert all(constant.data.ctypes.data % 4096 == 0 for constant in constants)
    before = [constant.data.tobytes() for constant in constants]
    gc.collect()
    assert [constant.data.tobytes() for constant in constants] == before


def _ours(model: ov.Model) -> list[ov.Node]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() in ("SparseMatMul", "SparseBlock")]
