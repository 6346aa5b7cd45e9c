"""A damaged record is told of, whichever entry is missing or of another type."""

from __future__ import annotations

import copy

import pytest
from made_up_profile import make_sites

from scap_ov.config import SparsityConfig
from scap_ov.plan import SparsityPlan
from scap_ov.storage.rt_info import checked_summary, summarise

SUMMARY = summarise(SparsityPlan(SparsityConfig(), "f", make_sites(1), {}), "lowered", {}, [("layer", "a reason")])
LEVEL = {"level": 0.4, "expected_sparsity": 0.4, "dropped": 0.2, "half": 0.2, "whole": 0.6, "sites": {}}


def test_what_is_written_is_taken() -> None:
    whole = {**SUMMARY, "levels": [LEVEL], "start_level": 0.4, "notes": {"expert_tokens": {"block.0.up": [1, 0]}}}
    assert checked_summary(copy.deepcopy(whole)) == whole
    assert checked_summary({key: value for key, value in SUMMARY.items() if key not in ("notes", "fingerprint")})


@pytest.mark.parametrize(
    "changed",
    [{"notes": 0.5}, {"notes": {"expert_tokens": []}}, {"notes": {"expert_tokens": {"a": []}}}, {"levels": 3}, {"levels": [1]},
     {"levels": [{**LEVEL, "half": "x"}]}, {"skipped": [[1, 2]]}, {"expected_sparsity": "50 %"}, {"start_level": None}],
)  # fmt: skip
def test_entries_of_the_summary(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no .* of its type|no list of layers"):
        checked_summary({**SUMMARY, **changed})


@pytest.mark.parametrize(
    "changed", [{"half": "x"}, {"dropped": "xxx"}, {"out_features": ["a"]}, {"experts": 4}, {"block": "0"}, {"name": 3}]
)
def test_entries_of_a_site(changed: dict[str, object]) -> None:
    sites = [{**SUMMARY["sites"][0], **changed}, *SUMMARY["sites"][1:]]
    with pytest.raises(ValueError, match=r"no .* of its type"):
        checked_summary({**SUMMARY, "sites": sites})
