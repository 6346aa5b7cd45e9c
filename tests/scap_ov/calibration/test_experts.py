"""Routed experts are observed on the tokens that they get."""

from __future__ import annotations

import nncf
import numpy as np
import pytest
from expert_blocks import experts_model, tokens

import scap_ov
from scap_ov.calibration.observe import observe
from scap_ov.cli.routed import tokens_per_expert
from scap_ov.storage.rt_info import summarise

UP, DOWN = "block.0.expert_up", "block.0.expert_down"


@pytest.fixture(scope="module")
def built():
    return experts_model("f32", experts=4, used=2)


def samples(*seeds, unseen=None):
    made = [dict(zip(("x", "scores"), tokens(1, 9, seed=seed), strict=True)) for seed in seeds]
    for one in made if unseen is not None else ():
        one["scores"][:, unseen] = -9
    return made


def named(model):
    for parameter in model.get_parameters():
        parameter.output(0).get_tensor().set_names({parameter.get_friendly_name()})
    return model


def test_rows_of_the_chosen_experts_and_tokens_of_each(built):
    data = samples(1, 2)
    profile = observe(named(built.model), nncf.Dataset(data))
    assert profile.statistics[UP].count * 2 == profile.statistics[DOWN].count, "a token has a row for each expert that it uses"
    hidden = np.concatenate([built.answer(one["x"], one["scores"])[1].reshape(-1, 32) for one in data])
    rows = profile.statistics[DOWN].rows
    nearest = np.abs(rows[:, None] - hidden[None]).max(-1).min(1)
    assert nearest.max() < 2e-3, "rows are kept in half precision"
    used = profile.statistics[UP].tensors["expert_tokens"]
    assert used.sum() == profile.statistics[DOWN].count


def test_shards_merge(built):
    model = named(built.model)
    one, two, both = (observe(model, nncf.Dataset(samples(*seeds))) for seeds in ((1,), (2,), (1, 2)))
    merged = one.merge(two)
    for name in (UP, DOWN):
        for key, value in both.statistics[name].tensors.items():
            np.testing.assert_array_equal(merged.statistics[name].tensors[key], value, err_msg=key)


def test_experts_that_calibration_never_saw_are_told(built):
    profile = observe(named(built.model), nncf.Dataset(samples(1, 2, unseen=3)))
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig(target_sparsity=0.4, method="scap"))
    assert plan.notes["expert_tokens"][UP][3] == 0
    (line,) = tokens_per_expert(summarise(plan, "lowered"), warnings_only=True)
    assert "never used 1 of 4 experts of block.0.expert_up (3)" in line
