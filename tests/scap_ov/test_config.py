"""What cannot be meant is refused when the configuration is made, and plain values come back."""

from __future__ import annotations

import pytest

from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError


@pytest.mark.parametrize("ramp", [-1, 0.001, 1000, float("nan"), True, "1"])
def test_a_ramp_that_is_no_width_is_refused(ramp: object) -> None:
    with pytest.raises(UsageError, match="ramp is"):
        SparsityConfig(ramp=ramp)  # type: ignore[arg-type]


@pytest.mark.parametrize(("other", "told"), [({"compensation": True}, "compensation"), ({"method": "cats"}, "method cats")])
def test_what_does_not_go_with_a_ramp_is_refused(other: dict, told: str) -> None:
    with pytest.raises(UsageError, match=f"does not go with {told}"):
        SparsityConfig(ramp=1, **other)
    assert SparsityConfig(**other).ramp == 0


def test_the_ramp_survives_a_file() -> None:
    assert SparsityConfig.from_dict(SparsityConfig(ramp=0.5).to_dict()).ramp == 0.5
