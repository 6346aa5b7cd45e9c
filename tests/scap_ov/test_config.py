"""What cannot be meant is refused when the configuration is made, and plain values come back."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
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


def test_the_old_name_of_drift_correction_is_read_from_files_and_taken_with_a_warning() -> None:
    assert not SparsityConfig.from_dict({"sequential": False}).drift_correction
    with pytest.warns(DeprecationWarning, match="drift_correction"):
        old = SparsityConfig(sequential=False)
    assert old == SparsityConfig(drift_correction=False)
    assert "sequential" not in old.to_dict()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"taget_sparsity": 0.5}, "unknown key 'taget_sparsity'; did you mean 'target_sparsity'?"),
        ({"qqq": 1}, "unknown key 'qqq'; known keys: target_sparsity, method"),
        ({"method": "tael"}, "method is 'tael'; did you mean 'teal'?"),
        ({"version": 99}, "the configuration is of version 99, this scap_ov knows up to 1; upgrade scap_ov"),
    ],
)
def test_values_that_are_not_known_are_told_with_the_nearest(values: dict, told: str) -> None:
    with pytest.raises(UsageError) as e:
        SparsityConfig.from_dict(values)
    assert str(e.value).startswith(told)


def test_plain_values_come_back() -> None:
    config = SparsityConfig({"up": 0.4, "down": 0.6}, ignored_scope="re:.*o_proj", max_sparse_rows=1)
    assert config.ignored_scope == ("re:.*o_proj",)
    assert SparsityConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_ramp_survives_a_file() -> None:
    assert SparsityConfig.from_dict(SparsityConfig(ramp=0.5).to_dict()).ramp == 0.5


@pytest.mark.parametrize("value", ["no", "false", "off", "x", 0, 1, None, [], 0.5])
@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(SparsityConfig) if isinstance(f.default, bool)])
def test_what_is_no_bool_is_not_taken_for_one(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} is .*; give true or false"):
        SparsityConfig.from_dict({name: value})


@pytest.mark.parametrize("value", [2.5, 4.0, True, "4", None, [4], float("nan")])
@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(SparsityConfig) if type(f.default) is int])
def test_what_is_no_whole_number_is_not_taken_for_one(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} is .*; give a whole number such as"):
        SparsityConfig.from_dict({name: value})


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(SparsityConfig) if isinstance(f.default, str) and f.name != "lm_head"])
@pytest.mark.parametrize("value", [None, 5, True, ["all"], {"a": 1}, ""])
def test_what_is_no_choice_is_not_taken_for_one(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} is .*give one of"):
        SparsityConfig.from_dict({name: value})


@pytest.mark.parametrize(
    ("target", "told"),
    [({}, "names no kind"), ([0.5], "is [0.5]; give a share"), ("0.5", "is '0.5'"), (True, "is True"), ({"up": "0.4"}, "for 'up' is '0.4'"),
     ({1: 0.4}, "holds 1; give names"), ({"": 0.4}, "holds ''"), ({"re:(": 0.4}, "is no regular expression"), (float("inf"), "is inf"),
     ({"up": {"a": 0.5}}, "for 'up' is {'a': 0.5}"), (1.0, "is 1.0"), (-0.1, "is -0.1")],
)  # fmt: skip
def test_targets_that_are_no_shares(target: object, told: str) -> None:
    with pytest.raises(UsageError) as e:
        SparsityConfig.from_dict({"target_sparsity": target})
    assert told in str(e.value)


@pytest.mark.parametrize("ignored", [5, [1], {"a": 1}, "re:(", [""], ["ok", None], True])
def test_patterns_that_are_none(ignored: object) -> None:
    with pytest.raises(UsageError, match="ignored_scope"):
        SparsityConfig.from_dict({"ignored_scope": ignored})


@pytest.mark.parametrize("version", ["a", 1.0, [], None, True])
def test_a_version_that_is_no_number(version: object) -> None:
    with pytest.raises(UsageError, match="version is"):
        SparsityConfig.from_dict({"version": version})


def test_numbers_of_numpy_become_numbers_of_python() -> None:
    config = SparsityConfig(np.float32(0.5), max_sparse_rows=np.int64(2))
    assert json.loads(json.dumps(config.to_dict()))["target_sparsity"] == 0.5


@pytest.mark.parametrize("share", [-0.1, 1, True, "0.5", None, float("nan")])
def test_a_share_of_experts_that_is_none_is_refused(share: object) -> None:
    with pytest.raises(UsageError, match=r"fewer_experts is .*; give a share of at least 0 and below 1"):
        SparsityConfig(fewer_experts=share)  # type: ignore[arg-type]


def test_fewer_experts_is_in_files_that_need_it_only_and_wants_a_profile() -> None:
    config = SparsityConfig(target_sparsity=0, fewer_experts=0.25)
    assert SparsityConfig.from_dict(config.to_dict()) == config
    assert "fewer_experts" not in SparsityConfig().to_dict()
    assert not config.drops_nothing
    assert SparsityConfig(target_sparsity=0).drops_nothing
    with pytest.raises(UsageError, match="does not go with compensation"):
        SparsityConfig(fewer_experts=0.25, compensation=True)


@pytest.mark.parametrize("value", [None, 5, ["auto"], {"a": 1}, "", "Auto"])
def test_lm_head_is_true_false_or_auto(value: object) -> None:
    with pytest.raises(UsageError, match=r"lm_head is .*; give true, false or auto"):
        SparsityConfig.from_dict({"lm_head": value})


def test_the_default_of_lm_head_is_left_out_for_older_versions() -> None:
    assert "lm_head" not in SparsityConfig().to_dict()
    for value in (True, False, "auto"):
        assert SparsityConfig.from_dict(SparsityConfig(lm_head=value).to_dict()).lm_head == value
