"""Which sites are pruned and what share each group of them is asked for: scope, ignored_scope and target patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scap_ov.config import SITE_KINDS, SparsityConfig
from scap_ov.errors import BadModelError, UsageError
from scap_ov.sites import Site, SiteKind

FFN_KINDS = (SiteKind.UP, SiteKind.DOWN, SiteKind.EXPERT_UP, SiteKind.EXPERT_DOWN)
_PREFIX = "re:"


@dataclass(frozen=True)
class TargetGroup:
    """Sites that share one target: their sparsity, weighted by weight count, is to be `target`.

    :param key: the kind or pattern that named the group, "" for the single target of all.
    """

    key: str
    target: float
    sites: tuple[Site, ...]


def found_sites(sites: Iterable[Site], config: SparsityConfig) -> tuple[Site, ...]:
    """The sites of a plan: all block sites, and the output projection where it is asked for."""
    return tuple(s for s in sites if s.kind is not SiteKind.LM_HEAD or config.lm_head is True)


def names_head(sites: Iterable[Site], config: SparsityConfig) -> bool:
    """Whether a target, other than by a regular expression, or ignored_scope speaks of the output projection."""
    heads = [site for site in sites if site.kind is SiteKind.LM_HEAD]
    targets = config.target_sparsity if isinstance(config.target_sparsity, Mapping) else {}
    keys = [key for key in targets if not key.startswith(_PREFIX)]
    return any(matches(key, site) for key in [*keys, *config.ignored_scope] for site in heads)


def sites_in_scope(sites: Iterable[Site], config: SparsityConfig) -> tuple[Site, ...]:
    """The sites that may be pruned.

    1. With scope `ffn` only `up` and `down` sites, those of experts included (and the output projection where it was asked for).
    2. The output projection where `lm_head` is true; what `auto` is there says fitting.output_projection.
    3. A site is left alone when `ignored_scope` names it or any of its layers: its layers share one pruned input.

    :raises UsageError: a pattern of ignored_scope matches nothing, or nothing is left.
    :raises BadModelError: scope `ffn` on a model without FFN sites.
    """
    found = found_sites(sites, config)
    for pattern in config.ignored_scope:
        if not any(matches(pattern, s) for s in found):
            msg = f"ignored_scope '{pattern}' matches no site and no layer; {describe(found)}"
            raise UsageError(msg)
    if config.scope == "ffn" and not any(s.kind in FFN_KINDS for s in found):
        msg = f"the model has no FFN site for scope 'ffn'; {describe(found)}; use scope 'all'"
        raise BadModelError(msg)
    kinds = (*FFN_KINDS, SiteKind.LM_HEAD) if config.scope == "ffn" else tuple(SiteKind)
    left = tuple(s for s in found if s.kind in kinds and not any(matches(p, s) for p in config.ignored_scope))
    if not left:
        msg = f"scope '{config.scope}' and ignored_scope {list(config.ignored_scope)} leave no site to prune; {describe(found)}"
        raise UsageError(msg)
    return left


def target_groups(sites: Sequence[Site], config: SparsityConfig) -> tuple[TargetGroup, ...]:
    """Split the sites in scope into groups of one target each.

    1. A single number is the target of all sites in scope together.
    2. In a mapping, a full name goes before a `re:` pattern, and a pattern before a kind. Sites that no key names are not pruned.

    :param sites: what `sites_in_scope` returned.
    :raises UsageError: a key matches nothing, or two patterns with different targets match one site.
    """
    if not isinstance(config.target_sparsity, Mapping):
        return (TargetGroup("", float(config.target_sparsity), tuple(sites)),)
    targets = {str(k): float(v) for k, v in config.target_sparsity.items()}
    members: dict[str, list[Site]] = {key: [] for key in targets}
    for key in targets:
        if not any(_rank(key, s) for s in sites):
            hint = "; set lm_head=True to make the output projection a site" if key == "lm_head" else ""
            msg = f"target_sparsity names '{key}', which matches no site in scope{hint}; {describe(sites)}"
            raise UsageError(msg)
    for site in sites:
        ranks = {key: _rank(key, site) for key in targets}
        best = max(ranks.values())
        if not best:
            continue
        keys = [key for key, rank in ranks.items() if rank == best]
        if len({targets[key] for key in keys}) > 1:
            told = ", ".join(f"'{key}' ({targets[key]})" for key in keys)
            msg = f"target_sparsity gives site {site.name} more than one target: {told}; make the patterns exclude each other"
            raise UsageError(msg)
        members[keys[0]].append(site)
    return tuple(TargetGroup(key, targets[key], tuple(own)) for key, own in members.items() if own)


def matches(pattern: str, site: Site) -> bool:
    """Whether a pattern names a site: its kind, its full name or that of one of its layers, or `re:` and an expression found in either.

    :raises UsageError: the regular expression is malformed.
    """
    return _rank(pattern, site) > 0


def describe(sites: Sequence[Site]) -> str:
    """What there is to match, in a few words."""
    kinds = sorted({s.kind.value for s in sites})
    if not sites:
        return "the model has no such sites"
    return (
        f"there are sites of the kinds {', '.join(kinds)}, from {sites[0].name} (layers {', '.join(v.name for v in sites[0].layers)}) "
        f"to {sites[-1].name}"
    )


def _rank(pattern: str, site: Site) -> int:
    """3: full name, 2: regular expression, 1: kind, 0: no match."""
    names = (site.name, *(layer.name for layer in site.layers))
    if pattern.startswith(_PREFIX):
        try:
            expression = re.compile(pattern[len(_PREFIX) :])
        except re.error as e:
            msg = f"'{pattern}' is no regular expression ({e}); correct what follows 're:'"
            raise UsageError(msg) from e
        return 2 if any(expression.search(name) for name in names) else 0
    if pattern in names:
        return 3
    return 1 if pattern == site.kind.value and (pattern in SITE_KINDS or pattern == SiteKind.OTHER.value) else 0
