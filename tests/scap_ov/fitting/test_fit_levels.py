"""Levels: what a configuration takes, each level a fit of its own, and a plan of several in one file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_profile import small_profile

import scap_ov
from scap_ov.config import SparsityConfig
from scap_ov.errors import UsageError
from scap_ov.plan import SparsityPlan

LEVELS = (0, 0.25, 0.5)


@pytest.mark.parametrize(("given", "levels", "target"), [
    ({"levels": [0.5, 0, 0.25]}, (0, 0.25, 0.5), 0.5), ({"levels": (0, 0.3)}, (0, 0.3), 0.3),
    ({"levels": (0, 0.3), "target_sparsity": 0}, (0, 0.3), 0),
    ({"levels": ()}, (), 0.5), ({"levels": None}, (), 0.5),
])  # fmt: skip
def test_a_model_starts_at_its_target_or_at_the_highest_level(given, levels, target) -> None:
    config = SparsityConfig(**given)
    assert (config.levels, config.target_sparsity) == (levels, target)
    assert SparsityConfig.from_dict(config.to_dict()) == config
    assert ("levels" in config.to_dict()) == bool(levels)  # what has none is read by a scap_ov that knows none
    assert not config.drops_nothing


@pytest.mark.parametrize(("given", "sentence"), [
    ({"levels": (0, 1.0)}, "levels hold 1.0; give up to 16 different shares"), ({"levels": (0.25, 0.25)}, "levels hold 0.25 twice"),
    ({"levels": "0,0.5"}, "levels is '0,0.5'; give a list of shares"), ({"levels": (True,)}, "levels hold True"),
    ({"levels": [i / 20 for i in range(17)]}, "levels hold 17 levels"),
    ({"levels": (0, 0.5), "target_sparsity": 0.3}, "target_sparsity is 0.3, and a model starts with one of its levels, 0, 0.5"),
    ({"levels": (0, 0.5), "target_sparsity": {"up": 0.4}}, "do not go with a target for each kind"),
    ({"levels": (0, 0.5), "compensation": True}, "do not go with compensation"),
    ({"levels": (0, 0.5), "method": "cats"}, "do not go with method cats"),
])  # fmt: skip
def test_levels_that_cannot_be_meant_are_refused(given, sentence) -> None:
    with pytest.raises(UsageError, match=sentence):
        SparsityConfig(**given)


def test_each_level_is_the_fit_of_that_target() -> None:
    config = SparsityConfig(levels=LEVELS, method="adaptive")
    plan = scap_ov.fit(small_profile(), config)
    assert sorted(plan.levels) == list(LEVELS)
    assert plan.start_level == 0.5
    assert plan.entries is plan.levels[0.5]
    assert plan.levels[0] == {}
    for level in LEVELS[1:]:
        alone = scap_ov.fit(small_profile(), replace(config, levels=(), target_sparsity=level))
        assert alone.entries.keys() == plan.levels[level].keys()
        for name, entry in alone.entries.items():
            assert np.array_equal(entry.threshold, plan.levels[level][name].threshold)
            assert np.array_equal(entry.center, plan.levels[level][name].center)
    assert plan.at(0.25).expected_sparsity() < plan.expected_sparsity()
    assert plan.widest().entries.keys() == plan.levels[0.25].keys() | plan.levels[0.5].keys()


def test_a_plan_with_levels_is_read_as_it_was_written(tmp_path) -> None:
    plan = scap_ov.fit(small_profile(), SparsityConfig(levels=LEVELS, method="adaptive"))
    plan.save(tmp_path / "plan.safetensors")
    again = SparsityPlan.load(tmp_path / "plan.safetensors")
    assert again.config == plan.config
    assert again.levels.keys() == plan.levels.keys()
    for level, entries in plan.levels.items():
        assert again.levels[level].keys() == entries.keys()
        for name, entry in entries.items():
            assert np.array_equal(entry.threshold, again.levels[level][name].threshold)
            assert entry.expected_sparsity == again.levels[level][name].expected_sparsity
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "plan.safetensors").read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_max_loss_and_levels_are_not_asked_for_at_once() -> None:
    from small_llm import small_llm

    with pytest.raises(UsageError, match="max-loss finds one sparsity, and levels are several"):
        scap_ov.apply(small_llm(), small_profile(), SparsityConfig(levels=LEVELS), max_loss="1%", data=[])
