"""Packed formats: lossless for every shape, laid out as docs/packing.md says, the same list in C++ and in Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_library import load
from reference import OFFSETS, stored_values

from scap_ov.custom_ops.formats import FORMATS, WEIGHT_TYPES, pack, packed_row_bytes, unpack
from scap_ov.errors import UsageError

SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 270))


def random_bits(weight_type: str, n: int, k: int, seed: int) -> np.ndarray:
    """[N, K] stored values of every bit pattern, NaN and infinity included."""
    rng = np.random.default_rng(seed)
    if weight_type in ("u4", "i4"):
        return (rng.integers(0, 16, (n, k)) - OFFSETS[weight_type]).astype(np.int8 if weight_type == "i4" else np.uint8)
    dtype = {"u8": np.uint8, "i8": np.int8, "f16": np.float16, "bf16": np.uint16, "f32": np.float32}[weight_type]
    return rng.integers(0, 256, (n, k * np.dtype(dtype).itemsize), np.uint8).view(dtype)


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_unpack_gives_back_every_bit(weight_type: str, shape: tuple[int, int], seed: int) -> None:
    weights = random_bits(weight_type, *shape, seed)
    packed = pack(weights, weight_type)
    assert (packed.dtype, packed.shape) == (np.uint8, (shape[1], packed_row_bytes(weight_type, shape[0])))
    assert packed.shape[1] % 64 == 0
    assert unpack(packed, weight_type, shape[0]).tobytes() == weights.tobytes()


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_rows_are_laid_out_as_documented(weight_type: str, shape: tuple[int, int], seed: int) -> None:
    """`stored_values` reads the rows by the formulas of docs/packing.md, not by the packing code."""
    weights = random_bits(weight_type, *shape, seed)
    if weight_type == "bf16":
        expected = (weights.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    elif weight_type in OFFSETS:
        expected = weights.astype(np.int64) + OFFSETS[weight_type]
    else:
        with np.errstate(invalid="ignore"):
            expected = weights.astype(np.float64)
    np.testing.assert_array_equal(stored_values(pack(weights, weight_type), weight_type, shape[0]), expected.T)


def test_both_lists_of_formats_agree() -> None:
    library = load()
    names = [library.scap_ov_format_name(i).decode() for i in range(library.scap_ov_format_count())]
    assert names == [*FORMATS, "planes"]


def test_values_outside_of_four_bits_are_refused() -> None:
    with pytest.raises(UsageError, match=r"i4 weights lie in -8 … 7, got -9 … 0"):
        pack(np.array([[-9, 0]], np.int8), "i4")


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(UsageError, match=r"uint8 \[K, 64\], got uint8 \[3, 128\]"):
        unpack(np.zeros((3, 128), np.uint8), "u8", 64)
