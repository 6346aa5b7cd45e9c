"""Carry a plan from the OpenVINO form of a network to its ONNX form and back: site names are the same, layers' names are not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scap_ov.errors import MismatchError
from scap_ov.models.opened import Graph, Opened
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import Layer, Site

_ONNX = "onnx:"
_OTHER = "the profile or plan belongs to another model (the fingerprints differ); calibrate this model, or give the one it was made from"
_ROLE = re.compile(r"([qkv]_proj|gate_proj|up_proj|query|key|value|fc1|w1|w3)\b")


def adapted(plan: SparsityPlan, model: Opened[Graph]) -> SparsityPlan:
    """`plan_for` of a model that is at hand."""
    own = model.fingerprint
    return plan_for(plan, own, () if plan.fingerprint == own else model.sites)


def plan_for(plan: SparsityPlan, fingerprint: str, sites: Sequence[Site]) -> SparsityPlan:
    """The plan as a plan of this model.

    1. A plan of this very model is given back as it is.
    2. A plan of the other kind is taken when every site that it prunes is here with the same number of inputs and outputs.
    3. Compensation is ordered by layer; where the order cannot be told the plan is refused.

    :param fingerprint: of the model.
    :param sites: of the model, the output projection included.
    :raises MismatchError: the plan belongs to another model.
    """
    if plan.fingerprint == fingerprint:
        return plan
    if plan.fingerprint.startswith(_ONNX) == fingerprint.startswith(_ONNX):
        raise MismatchError(_OTHER)
    own, theirs = {site.name: site for site in sites}, {site.name: site for site in plan.sites}
    unlike = [name for name in plan.entries if name not in own or _sizes(own[name]) != _sizes(theirs[name])]
    if unlike:
        msg = (f"the plan belongs to another network: {len(unlike)} of its {len(plan.entries)} sites are not here in that size "
               f"({', '.join(unlike[:3])}); calibrate this model")  # fmt: skip
        raise MismatchError(msg)
    entries = {name: _reordered(entry, theirs[name], own[name]) for name, entry in plan.entries.items()}
    return replace(plan, fingerprint=fingerprint, sites=tuple(sites), entries=entries)  # levels have no compensation to reorder


def _sizes(site: Site) -> tuple[int, list[int]]:
    return site.in_features, sorted(layer.out_features for layer in site.layers)


def _reordered(entry: SitePlan, theirs: Site, own: Site) -> SitePlan:
    """With the compensation in the order of this model's layers. Rule 3."""
    if entry.compensation is None or len(own.layers) == 1:
        return entry
    ends = np.cumsum([layer.out_features for layer in theirs.layers])[:-1]
    parts = {_key(layer, theirs): part for layer, part in zip(theirs.layers, np.split(entry.compensation, ends), strict=True)}
    keys = [_key(layer, own) for layer in own.layers]
    if set(keys) != set(parts) or len(parts) != len(theirs.layers):
        msg = (
            f"the plan compensates {entry.site}, and which of its layers is which cannot be told from their names; fit a plan of this model"
        )
        raise MismatchError(msg)
    return replace(entry, compensation=np.concatenate([parts[key] for key in keys]))


def _key(layer: Layer, site: Site) -> object:
    """What tells a layer of a site in both forms: its size where that is unique, else the role in its name."""
    if [other.out_features for other in site.layers].count(layer.out_features) == 1:
        return layer.out_features
    found = _ROLE.findall(layer.name)
    return found[-1] if found else layer.name
