"""What commands say of the bytes that a token does not read."""

from __future__ import annotations

import pytest

from scap_ov.cli.levels import told_share


@pytest.mark.parametrize(
    ("share", "head", "told"),
    [(0.5, {"counted": False}, "50.0% of their weight bytes, the output projection's aside, not read"),
     (0.5, {"counted": True}, "50.0% of their weight bytes not read"), (0.0, {"counted": False}, "0.0% of their weight bytes not read"),
     (0.5, {}, "50.0% of their weight bytes not read"), (0.5, None, "50.0% of their weight bytes not read")],
)  # fmt: skip
def test_a_projection_that_is_read_whole_is_not_counted(share: float, head: dict[str, bool] | None, told: str) -> None:
    """Records of before do not say it."""
    sites: list[dict[str, object]] = [{"kind": "up", "counted": True}]
    sites += [] if head is None else [{"kind": "lm_head", **head}]
    assert told_share({"expected_sparsity": share, "sites": sites}).startswith(told)
