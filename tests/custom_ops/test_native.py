"""What the extension library packs is what numpy packs, bit for bit."""

from __future__ import annotations

import _ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scap_ov
from scap_ov.custom_ops import library
from scap_ov.custom_ops.formats import native, pack, packed_row_bytes, planes, u4, u8
from scap_ov.errors import ExtensionError

SIZES = st.lists(st.integers(1, 150), min_size=1, max_size=3)


@pytest.fixture
def numpy_only(monkeypatch):
    monkeypatch.setattr(native, "library", lambda: None)


def pairs_of(values: np.ndarray) -> np.ndarray:
    """4-bit values [N, K] as a model stores them, two in a byte."""
    return (values[:, ::2] & 15 | values[:, 1::2] << 4).astype(np.uint8)


def by_numpy(weights: np.ndarray, weight_type: str) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library", lambda: None)
        return pack(weights, weight_type)


@given(sizes=SIZES, k=st.integers(1, 300), signed=st.booleans(), bits=st.sampled_from([4, 8]), seed=st.integers(0, 2**32))
def test_bytes_of_several_layers(sizes, k, signed, bits, seed):
    rng = np.random.default_rng(seed)
    low = -(1 << bits - 1) if signed else 0
    layers = [rng.integers(low, low + (1 << bits), (n, k + 3)).astype(np.int8 if signed else np.uint8)[:, :k] for n in sizes]
    name = f"{'i' if signed else 'u'}{bits}"
    out = np.full((k, packed_row_bytes(name, sum(sizes))), 255, np.uint8)
    native.pack_into(native.Stored(layers, 8, 1 << bits - 1 if signed else 0), bits, out)
    np.testing.assert_array_equal(out, by_numpy(np.concatenate(layers), name))


@given(sizes=SIZES, half=st.integers(1, 300), signed=st.booleans(), seed=st.integers(0, 2**32))
def test_two_weights_in_a_byte(sizes, half, signed, seed):
    rng = np.random.default_rng(seed)
    values = [rng.integers(0, 16, (n, 2 * half), np.uint8) for n in sizes]
    out = np.full((2 * half, packed_row_bytes("u4", sum(sizes))), 255, np.uint8)
    native.pack_into(native.Stored([pairs_of(each) for each in values], 4, 0x88 if signed else 0), 4, out)
    np.testing.assert_array_equal(out, by_numpy(np.concatenate(values) ^ np.uint8(8 if signed else 0), "u4"))


@given(sizes=SIZES, k=st.integers(1, 300), group=st.sampled_from([1, 7, 32, 64, 200]), signed=st.booleans(), seed=st.integers(0, 2**32))
def test_planes(sizes, k, group, signed, seed):
    rng = np.random.default_rng(seed)
    layers = [rng.integers(0, 256, (n, k), np.uint8).view(np.int8 if signed else np.uint8) for n in sizes]
    made = planes.split(np.concatenate(layers), group)
    out = np.full((2 * k, packed_row_bytes("u4", sum(sizes))), 255, np.uint8)
    native.pack_planes_into(native.Stored(layers, 8, 128 if signed else 0), group, made.step, made.offset, out)
    np.testing.assert_array_equal(out, np.concatenate([by_numpy(made.high, "u4"), by_numpy(made.low, "u4")]))


@pytest.mark.parametrize(("n", "k"), [(130, 2100), (2500, 600)])  # several slices, several threads
def test_a_weight_of_several_slices(n, k):
    weights = np.random.default_rng(0).integers(0, 256, (n, k), np.uint8)
    np.testing.assert_array_equal(pack(weights, "u8"), by_numpy(weights, "u8"))


@pytest.mark.usefixtures("numpy_only")
def test_without_the_library_numpy_packs():
    weights = np.random.default_rng(0).integers(0, 16, (70, 9), np.uint8)
    for module, width in ((u4, 64), (u8, 128)):
        np.testing.assert_array_equal(module.unpack(module.pack(weights, 0), 70, 0), weights)
        assert module.row_bytes(128) == width


def test_columns_that_are_not_contiguous_are_packed_too():
    weights = np.random.default_rng(0).integers(0, 256, (70, 90), np.uint8)
    np.testing.assert_array_equal(pack(np.asfortranarray(weights), "u8"), pack(weights, "u8"))


def test_a_library_that_does_not_pack_is_left_alone(monkeypatch):
    """As one that was built for an earlier release of this package; the dial, which has no other road, says what to do."""
    monkeypatch.setattr(library, "library_path", lambda: Path(_ctypes.__file__))
    assert native.library.__wrapped__() is None
    with pytest.raises(ExtensionError, match=r"scap_ov_set_level.*build-extension"):
        scap_ov.set_level(0)
