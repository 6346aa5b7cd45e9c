"""Packing layers of a site into one buffer and reading them back, without a graph around."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from weight_forms import FORMS, matmul, store

from scap_ov.passes.openvino.packed_site import pack_site, packed_scale_type, unpack_site
from scap_ov.passes.openvino.weights import read_weight

K, SIZES = 256, (70, 1, 57)


def read_all(name):
    rng = np.random.default_rng(9)
    x = ops.parameter(ov.PartialShape([-1, -1, K]), np.float32)
    return [read_weight(matmul(x, store(n, K, name, rng), f"l{n}")) for n in SIZES]


@pytest.mark.parametrize("name", FORMS)
def test_there_and_back(name):
    weights = read_all(name)
    packed = pack_site(weights)
    assert packed.sizes == SIZES
    assert packed.weight.shape[0] == K
    assert packed.weight.shape[1] % 64 == 0
    for weight, back in zip(weights, unpack_site(packed), strict=True):
        np.testing.assert_array_equal(back.raw, weight.raw())
        for mine, theirs in ((back.scale, weight.scale), (back.zero_point, weight.zero_point)):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", [name for name in FORMS if name.startswith(("u8", "i8"))])
def test_there_and_back_in_planes(name):
    weights = read_all(name)
    packed = pack_site(weights, in_planes=True)
    groups = -(-K // packed.step_group)
    assert (packed.planes, packed.k, len(packed.weight)) == (True, K, 2 * K)
    assert packed.weight.shape[1] % 64 == 0
    assert packed.step.size == packed.offset.size == groups * 128
    for weight, back in zip(weights, unpack_site(packed), strict=True):
        assert back.raw.tobytes() == np.ascontiguousarray(weight.raw()).tobytes()
        for mine, theirs in ((back.scale, weight.scale), (back.zero_point, weight.zero_point)):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                np.testing.assert_array_equal(mine, theirs)


def test_scales_are_one_row_per_group_padded_to_64():
    packed = pack_site(read_all("u4-g32-zp"))
    groups, padded = K // 32, 128
    assert packed.scale.size == groups * padded * 2
    assert packed.zero_point.size == groups * padded
    assert not packed.scale.view(np.float16).reshape(groups, padded)[:, sum(SIZES) :].any()


def test_floats_have_no_scales():
    packed = pack_site(read_all("bf16"))
    assert (packed.group_size, packed.scale_type, packed.scale.size, packed.zero_point.size) == (0, "", 0, 0)


def test_how_scales_are_packed():
    assert [packed_scale_type(t) for t in ("f16", "f32", "bf16")] == ["f16", "f32", "f32"]
