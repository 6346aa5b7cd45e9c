"""Making the op and reading it back; names that carry the layers; a library that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
from openvino import opset13 as ops

from scap_ov.custom_ops import OP_NAME
from scap_ov.errors import ExtensionError
from scap_ov.passes.openvino import sparse_op
from scap_ov.passes.openvino.packed_site import PackedSite
from scap_ov.passes.openvino.sparse_op import Pruning

K, N = 16, 10
PACKED = PackedSite("f16", 0, "", (7, 3), np.arange(K * 128, dtype=np.uint8).reshape(K, 128), np.zeros(0, np.uint8), np.zeros(0, np.uint8))
PRUNING = Pruning(*(np.arange(n, dtype=np.float32) for n in (K, 1, N, N)), "all", 5)


def test_what_was_built_is_read_back():
    x = ops.parameter([-1, -1, K], np.float32)
    node = sparse_op.build(sparse_op.creator(), x.output(0), PACKED, PRUNING, dynamic_quantization=False)
    assert node.get_type_name() == OP_NAME
    packed, pruning = sparse_op.read(node)
    for mine, theirs in ((packed, PACKED), (pruning, PRUNING)):
        for field in vars(theirs):
            np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field))
    assert [node.get_output_partial_shape(i)[2].get_length() for i in range(2)] == [7, 3]


@pytest.mark.parametrize("whole", [0, 1, K])
def test_planes_are_read_back(whole):
    rng = np.random.default_rng(0)
    planes = PackedSite("u8", K, "f32", (60, 4), rng.integers(0, 256, (2 * K, 64), np.uint8), rng.integers(0, 256, 256, np.uint8),
                        rng.integers(0, 256, 64, np.uint8), True, 8, np.full(128, 3, np.uint8), np.full(128, 2, np.uint8))  # fmt: skip
    thresholds = Pruning(*(np.arange(n, dtype=np.float32) for n in (1, K, 0, 64)), "decode", 4, 0.0, np.arange(whole, dtype=np.float32))
    node = sparse_op.build(sparse_op.creator(), ops.parameter([-1, K], np.float32).output(0), planes, thresholds, dynamic_quantization=True)
    for mine, theirs in zip(sparse_op.read(node), (planes, thresholds), strict=True):
        for field in vars(theirs):
            np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field))


def test_names_carry_site_and_layers():
    x = ops.parameter([-1, -1, K], np.float32)
    node = sparse_op.build(sparse_op.creator(), x.output(0), PACKED, PRUNING, dynamic_quantization=True)
    node.set_friendly_name(sparse_op.joined_name("block.0.qkv", ["a/b", "c"]))
    assert sparse_op.names_of(node) == ("block.0.qkv", ["a/b", "c"])
    node.set_friendly_name("renamed")
    assert sparse_op.names_of(node) == ("renamed", ["renamed.0", "renamed.1"])
    node.set_friendly_name(sparse_op.joined_name("block.0.qkv", ["only one"]))
    assert sparse_op.names_of(node)[1] == [f"{node.get_friendly_name()}.{i}" for i in range(2)]


def test_the_op_refuses_what_does_not_fit():
    x = ops.parameter([-1, -1, K + 1], np.float32)
    with pytest.raises(RuntimeError, match="its last dimension must be K = 16"):
        sparse_op.build(sparse_op.creator(), x.output(0), PACKED, PRUNING, dynamic_quantization=False)


def test_split_sizes():
    assert [part.tolist() for part in sparse_op.split_sizes(np.arange(5), (2, 3))] == [[0, 1], [2, 3, 4]]


def test_a_library_that_is_none_is_told(monkeypatch, tmp_path):
    path = tmp_path / "libother.so"
    path.write_bytes(b"no library")
    monkeypatch.setenv("SCAP_OV_EXTENSION", str(path))
    with pytest.raises(ExtensionError, match=r"cannot be loaded .*; run `scap-ov build-extension`"):
        sparse_op.creator()
