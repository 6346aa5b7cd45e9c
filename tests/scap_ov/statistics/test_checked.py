"""Damaged profiles are told of when they are read, in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_profile import small_profile

from scap_ov.errors import UsageError
from scap_ov.statistics.checked import ERRORS
from scap_ov.statistics.profile import CalibrationProfile, SiteStatistics

NAME = "block.0.down"


def with_tensor(profile: CalibrationProfile, name: str, value: np.ndarray) -> CalibrationProfile:
    old = profile.statistics[NAME]
    return replace(profile, statistics={**profile.statistics, NAME: SiteStatistics(old.count, {**old.tensors, name: value})})


def table(**changed: np.ndarray) -> dict[str, np.ndarray]:
    whole = {"level": np.array([0.3, 0.5]), "loss": np.array([0.1, 0.2]), "error": np.linspace(0, 1, ERRORS), "drift_loss": np.ones(3)}
    return {**whole, **{f"graded_{key}": whole[key] for key in ("level", "loss", "error")}, **changed}


@pytest.mark.parametrize("name", ["rows", "priority", "histogram", "sum", "minimum", "column_norm", "sketch"])
def test_tensors_of_another_shape(name: str, tmp_path: Path) -> None:
    profile = small_profile()
    value = profile.statistics[NAME].tensors[name]
    for other in (value[..., :-1], value.reshape(-1, 1), value[None], value.astype(bool)):
        with_tensor(profile, name, other).save(tmp_path / "profile")
        with pytest.raises(UsageError, match=f"damaged calibration profile .{NAME}/"):
            CalibrationProfile.load(tmp_path / "profile")


@pytest.mark.parametrize("name", ["rows", "minimum", "column_norm", "sketch", "histogram"])
@pytest.mark.parametrize("odd", [np.nan, -np.inf])
def test_numbers_that_no_calibration_gives(name: str, odd: float, tmp_path: Path) -> None:
    """Thresholds of NaN were fitted from them."""
    profile = small_profile()
    value = profile.statistics[NAME].tensors[name].copy()
    value[(2,) * value.ndim] = -1 if name == "histogram" else odd
    with_tensor(profile, name, value).save(tmp_path / "profile")
    with pytest.raises(UsageError, match=f"damaged calibration profile .{NAME}/{name} holds "):
        CalibrationProfile.load(tmp_path / "profile")


@pytest.mark.parametrize(
    ("name", "value"),
    [("loss", np.ones((1, 2))), ("loss", np.ones(3)), ("error", np.ones(ERRORS + 1)), ("graded_loss", np.ones(3)),
     ("drift_loss", np.ones((3, 1))),
     ("loss", np.array([0.1, np.nan])), ("level", np.array([1, 2]))],
)  # fmt: skip
def test_tables_that_do_not_fit_together(name: str, value: np.ndarray, tmp_path: Path) -> None:
    profile = small_profile()
    profile.with_sensitivity({NAME: table()}).save(tmp_path / "right")
    assert CalibrationProfile.load(tmp_path / "right").sensitivity[NAME].keys() == table().keys()
    profile.with_sensitivity({NAME: table(**{name: value})}).save(tmp_path / "wrong")
    with pytest.raises(UsageError, match=f"damaged calibration profile .{NAME}/sensitivity/"):
        CalibrationProfile.load(tmp_path / "wrong")


def test_a_table_of_no_site(tmp_path: Path) -> None:
    replace(small_profile(), sensitivity={"other": table()}).save(tmp_path / "profile")
    with pytest.raises(UsageError, match="the sensitivity of other, which is none of its sites"):
        CalibrationProfile.load(tmp_path / "profile")
