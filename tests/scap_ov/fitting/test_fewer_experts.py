"""Which layers give up experts: the least loss for the bytes that are saved."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import scap_ov
from scap_ov.errors import UsageError
from scap_ov.fitting.fewer_experts import FEWER, choose, with_experts
from scap_ov.plan import SparsityPlan
from scap_ov.sites import Layer, Site, SiteKind, WeightSpec
from scap_ov.statistics.profile import CalibrationProfile

USED = 4
RNG = np.random.default_rng(0)


def profile_of(curves, used=USED):
    """A profile whose layer b loses curves[b][j] with j + 1 experts."""
    sites = [
        Site(f"block.{b}.{kind.value}", kind, b, (Layer(f"{b}.{kind.value}", 8, 8, WeightSpec("i8", 8, "f16")),), 8, used)
        for b in range(len(curves))
        for kind in (SiteKind.EXPERT_UP, SiteKind.EXPERT_DOWN)
    ]
    tables = {f"block.{b}.expert_up": {FEWER: np.array(curve, np.float64)} for b, curve in enumerate(curves)}
    return CalibrationProfile("0" * 64, tuple(sites), {}, 64, tables)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.7])
def test_no_other_choice_that_saves_as_much_loses_less(share):
    curves = [np.cumsum(np.sort(RNG.random(USED - 1)))[::-1] * scale for scale in (1, 0.2, 3)]
    choice = choose(profile_of(curves), share)
    left = [choice.used.get(f"block.{b}.expert_up", USED) for b in range(3)]
    saved = 1 - sum(left) / (3 * USED)
    assert saved >= share - 1e-9
    assert saved - 1 / (3 * USED) < share, "one more expert than asked for is given up at most"
    lossless = [[*curve, 0.0] for curve in curves]
    best = min(
        sum(lossless[b][n - 1] for b, n in enumerate(other))
        for other in itertools.product(range(1, USED + 1), repeat=3)
        if sum(other) == sum(left)
    )
    assert choice.loss == pytest.approx(best)
    assert choice.loss == pytest.approx(sum(lossless[b][n - 1] for b, n in enumerate(left)))


def test_every_token_keeps_an_expert_and_down_follows_up():
    choice = choose(profile_of([[3, 2, 1]] * 2), 0.74)
    assert set(choice.used.values()) == {1}
    assert set(choice.used) == {f"block.{b}.expert_{kind}" for b in range(2) for kind in ("up", "down")}
    sites = with_experts(profile_of([[3, 2, 1]] * 2).sites, choice.used)
    assert sum(site.weight_bytes for site in sites) == 4 * 64


def test_a_profile_or_model_without_that_is_refused():
    profile = profile_of([[3, 2, 1]])
    bare = CalibrationProfile(profile.fingerprint, profile.sites, {}, 64, {})
    with pytest.raises(UsageError, match=r"does not tell what fewer experts cost at 1 layers \(block.0.expert_up\); calibrate again"):
        choose(bare, 0.25)
    with pytest.raises(UsageError, match=r"fewer_experts is 0.25, and the model has no routed experts; leave it out"):
        choose(CalibrationProfile("0" * 64, (), {}, 64, {}), 0.25)


def test_a_plan_keeps_them_in_its_file(tmp_path):
    profile = profile_of([[3, 2, 1]] * 2)
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig(target_sparsity=0, fewer_experts=0.25))
    assert plan.experts == {f"block.{b}.expert_{kind}": 3 for b in range(2) for kind in ("up", "down")}
    assert plan.notes["fewer_experts"] == {"used": {name: [3, 4] for name in plan.experts}, "expected_loss": pytest.approx(2.0)}
    assert {entry.threshold[0] for entry in plan.entries.values()} == {-1}, "nothing is dropped beside"
    plan.save(tmp_path / "plan")
    again = SparsityPlan.load(tmp_path / "plan")
    assert (again.experts, again.config, again.sites) == (plan.experts, plan.config, plan.sites)
