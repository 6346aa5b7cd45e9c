"""Scalar centres: the mode finds the peak of skewed activations, and the best centre is the one with the least output error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.fitting.centers import CENTERS, best_center
from scap_ov.fitting.centers.mode import density_peak

GELU_MINIMUM = -0.17


def gelu(x: np.ndarray) -> np.ndarray:
    return (x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))).astype(np.float32)


def test_every_centre_of_the_configuration_is_registered() -> None:
    for name in (*CENTERS, "output_error"):
        SparsityConfig(method="scap", center=name)
    with pytest.raises(UsageError, match="center is 'modes'; did you mean 'mode'"):
        SparsityConfig(method="scap", center="modes")


def test_the_mode_of_gelu_outputs_is_next_to_the_minimum_of_gelu() -> None:
    rows = gelu(np.random.default_rng(0).normal(-0.8, 0.6, (400, 256)))
    for peak in CENTERS["mode"](rows):
        assert GELU_MINIMUM <= peak <= GELU_MINIMUM + 0.02
    assert CENTERS["mean"](rows)[0] > GELU_MINIMUM + 0.05


def test_centring_on_the_mode_drops_gelu_outputs_at_less_error_than_zero() -> None:
    rng = np.random.default_rng(1)
    rows = gelu(rng.normal(-0.8, 0.6, (256, 64)))
    sketch = rng.standard_normal((64, 64)).astype(np.float32)
    peak = CENTERS["mode"](rows)[0]
    assert best_center([0.0, peak], rows, sketch, 0.6) == peak


@given(shift=st.floats(-3, 3), scale=st.floats(0.01, 10), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_peak_moves_and_scales_with_the_data(shift: float, scale: float, seed: int) -> None:
    values = np.random.default_rng(seed).gamma(2.0, 1.0, 50_000).astype(np.float32)  # mode 1, mean 2
    assert density_peak((shift + scale * values).astype(np.float32)) == pytest.approx(shift + scale, abs=0.4 * scale)


def test_massive_activations_do_not_move_the_peak() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, 100_000).astype(np.float32)
    values[:20] = 3000.0
    assert density_peak(values) == pytest.approx(0.5, abs=0.03)


def test_a_constant_tensor_has_its_value_as_mode() -> None:
    assert CENTERS["mode"](np.full((10, 8), 0.25, np.float32)) == (0.25,)


def test_mean_and_median_are_over_all_channels() -> None:
    rows = np.array([[0, 1], [2, 9]], np.float32)
    assert CENTERS["mean"](rows) == (3.0,)
    assert CENTERS["median"](rows) == (1.5,)
    assert CENTERS["zero"](rows) == (0.0,)
