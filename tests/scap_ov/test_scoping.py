"""Scope, ignored_scope and targets resolve to sites, and every mistake is told with what there is."""

from __future__ import annotations

import pytest
from made_up_profile import make_sites

from scap_ov.config import SparsityConfig
from scap_ov.errors import BadModelError, UsageError
from scap_ov.scoping import found_sites, sites_in_scope, target_groups
from scap_ov.sites import SiteKind

SITES = make_sites(2)


def groups(**values) -> dict[str, tuple[float, list[str]]]:
    config = SparsityConfig(**values)
    return {g.key: (g.target, [s.name for s in g.sites]) for g in target_groups(sites_in_scope(SITES, config), config)}


def test_one_number_covers_all_block_sites_but_not_the_output_projection() -> None:
    ((target, names),) = groups(target_sparsity=0.4).values()
    assert target == 0.4
    assert names == [s.name for s in SITES if s.name != "lm_head"]
    assert "lm_head" in groups(target_sparsity=0.4, lm_head=True)[""][1]
    assert len(found_sites(SITES, SparsityConfig())) == len(SITES) - 1


def test_rule_1_scope_ffn_is_up_and_down() -> None:
    assert groups(scope="ffn")[""][1] == ["block.0.up", "block.0.down", "block.1.up", "block.1.down"]
    assert groups(scope="ffn", lm_head=True)[""][1][-1] == "lm_head"


@pytest.mark.parametrize("pattern", ["block.0.qkv", "layers.0.k_proj", r"re:layers\.0\.(q|k)_proj", "re:^block.0.qkv$"])
def test_rule_3_a_site_is_ignored_by_its_name_or_that_of_any_of_its_layers(pattern: str) -> None:
    names = groups(ignored_scope=(pattern,))[""][1]
    assert "block.0.qkv" not in names
    assert len(names) == 7


def test_a_kind_is_ignored_as_a_whole() -> None:
    assert not [n for n in groups(ignored_scope=("qkv", "o"))[""][1] if n.endswith(("qkv", "o"))]


def test_targets_by_kind_leave_the_other_kinds_alone() -> None:
    assert groups(target_sparsity={"up": 0.4, "down": 0.6}) == {
        "up": (0.4, ["block.0.up", "block.1.up"]),
        "down": (0.6, ["block.0.down", "block.1.down"]),
    }


def test_a_name_goes_before_an_expression_and_an_expression_before_a_kind() -> None:
    found = groups(target_sparsity={"down": 0.6, r"re:block\.1": 0.2, "block.1.down": 0.7})
    assert found["down"][1] == ["block.0.down"]
    assert found[r"re:block\.1"][1] == ["block.1.qkv", "block.1.o", "block.1.up"]
    assert found["block.1.down"][1] == ["block.1.down"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"ignored_scope": ("layers.9.k_proj",)}, r"'layers.9.k_proj' matches no site.*kinds down, o, qkv, up.*block\.0\.qkv"),
        ({"ignored_scope": ("re:(",)}, "no regular expression"),
        ({"ignored_scope": ("re:.",)}, "leave no site to prune"),
        ({"target_sparsity": {"gate": 0.4}}, "'gate', which matches no site in scope; there are"),
        ({"target_sparsity": {"lm_head": 0.4}}, "set lm_head=True"),
        ({"target_sparsity": {"qkv": 0.4}, "scope": "ffn"}, "'qkv', which matches no site in scope"),
        ({"target_sparsity": {"re:block": 0.4, "re:up": 0.2}}, r"block\.0\.up more than one target.*0\.4.*0\.2"),
        ({"target_sparsity": {"re:[": 0.4}}, "no regular expression"),
    ],
)
def test_mistakes_are_told_with_what_there_is(values: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        groups(**values)


def test_scope_ffn_needs_an_ffn() -> None:
    attention = tuple(s for s in SITES if s.kind in (SiteKind.QKV, SiteKind.O))
    with pytest.raises(BadModelError, match="no FFN site"):
        sites_in_scope(attention, SparsityConfig(scope="ffn"))
