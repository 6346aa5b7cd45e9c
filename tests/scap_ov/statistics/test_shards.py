"""Names of shards: `3/16`, and nothing else, from wherever they come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_up_profile import small_profile

from scap_ov.errors import UsageError
from scap_ov.statistics.profile import CalibrationProfile
from scap_ov.statistics.shards import shard_numbers

NO_SHARDS = ["0/4", "5/4", "9/3", "3", "a/b", "-1/4", "1/0", "1/4/2", "٣/٤", "", 3, None, ("1", "3")]


@pytest.mark.parametrize("name", NO_SHARDS)
def test_what_is_no_shard_is_told(name: object) -> None:
    for read in (shard_numbers, small_profile().of_shard):
        with pytest.raises(UsageError, match=r"such as '?3/16"):
            read(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("held", [*([name] for name in NO_SHARDS), "1/3", 7, {"1/3": 1}])
def test_a_profile_of_no_shards_is_damaged(held: object, tmp_path: Path) -> None:
    profile = small_profile()
    replace(profile, metadata={**profile.metadata, "shards": held}).save(tmp_path / "profile")
    with pytest.raises(UsageError, match=r"damaged calibration profile .its shards are "):
        CalibrationProfile.load(tmp_path / "profile")


def test_zeros_in_front_are_no_other_shard() -> None:
    assert small_profile().of_shard("01/3").missing_shards == ["2/3", "3/3"]
