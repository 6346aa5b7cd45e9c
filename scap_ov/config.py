"""SparsityConfig: everything a user can choose about pruning. Frozen, closed, versioned; the CLI and TOML files use the same names."""

from __future__ import annotations

import dataclasses
import difflib
import re
import warnings
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

from scap_ov.errors import UsageError
from scap_ov.json_values import JsonMapping, JsonObject

CONFIG_VERSION = 1
METHODS = ("graded", "adaptive", "scap", "teal", "cats", "wina", "topk")
_RENAMED = {"sequential": "drift_correction"}  # keys of files that were written before
_DEFAULT_TARGET = 0.5
AUTO = "auto"  # of lm_head
_MOST_LEVELS, _LEAST_STEP = 16, 1e-3
WEIGHT_FORMATS = ("as_is", "int8")
CHOICES = {
    "method": METHODS,
    "center": ("zero", "mean", "median", "mode", "output_error"),
    "scope": ("all", "ffn"),
    "rows": ("decode", "all"),
    "replace": ("where_faster", "always"),
    "weight_format": WEIGHT_FORMATS,
}  # fields that take one of a few words
SITE_KINDS = ("qkv", "o", "up", "down", "expert_up", "expert_down", "lm_head")


@dataclass(frozen=True)
class SparsityConfig:
    """What to prune and how.

    :param target_sparsity: share of the weight bytes that a token does not read, in [0, 1), where 0 needs no calibration; or a mapping
        from site kind (`qkv`, `o`, `up`, `down`, `expert_up`, `expert_down`, `lm_head`) or site/layer name pattern (`re:` prefix for
        regular expressions) to such a share.
    :param method: `graded` (ours: weights of 8 bits are read by grades, others pruned as by `adaptive`), `adaptive` (conditional centres,
        allocation by sensitivity of the output), `scap`, `teal`, `cats`, `wina`, `topk`.
    :param center: centre of `scap`: `zero`, `mean`, `median`, `mode` (KDE peak) or `output_error` (the best of them).
    :param scope: `all` block layers or only those of the `ffn`.
    :param ramp: 0 keeps what is above its threshold as it is, so that rounding decides for what lies at it. Above 0, a kept entry is
        moved towards the centre: by the threshold where it is at its threshold, by nothing from (1 + ramp) thresholds on.
    :param rows: `decode` prunes steps of at most `max_sparse_rows` rows and computes longer ones dense; `all` prunes every row.
    :param max_sparse_rows: with `rows="decode"`, most rows of a step that is pruned, 1 to 64; with `replace="where_faster"` fewer at sites
        where dense rows are faster.
    :param replace: `where_faster` leaves a layer stock where the custom op would lose; `always` replaces every site.
    :param drift_correction: scale thresholds by the drift that calibration measured behind pruned sites, so that the measured sparsity
        is the target.
    :param dynamic_quantization: quantise activations to int8 for int4/int8 weights, as stock OpenVINO does on VNNI machines.
    :param compensation: learn a constant per layer that pruned rows add to their output; it needs the model and text.
    :param lm_head: `auto`: the output projection is not pruned, and goes through our op where that is faster; true: it is a site as others
        are, read by grades or pruned, and shares count it; false: it stays stock.
    :param weight_format: `as_is`, or `int8`: bring float weights into 8 bits first, so that they can be read by half.
    :param ignored_scope: names or `re:` patterns of sites or layers to leave alone.
    :param levels: shares of bytes, such as (0, 0.25, 0.4, 0.5), that one model holds all at once; which of them a step runs with is chosen
        at run time (`scap_ov.set_level`). 0 is the dense model. A model starts with `target_sparsity`, which is one of them; left out, it
        is the highest.
    :param fewer_experts: share of the bytes of routed experts that tokens do without because their router chooses fewer experts, in
        [0, 1); which layers give some up is decided by what that costs. Other shares then count the experts that are left.
    :param fuse_blocks: when a lowered model is written to a file, join the ops between the attention of a Transformer block and that of
        the next into one: fewer calls a step, which is what small models wait for. False: files that earlier versions read.
    :raises UsageError: a value is out of range.
    """

    target_sparsity: float | Mapping[str, float] = _DEFAULT_TARGET
    method: str = "graded"
    center: str = "zero"
    ramp: float = 0.0
    scope: str = "all"
    rows: str = "decode"
    max_sparse_rows: int = 4
    replace: str = "where_faster"
    drift_correction: bool = True
    dynamic_quantization: bool = True
    compensation: bool = False
    lm_head: bool | str = AUTO
    weight_format: str = "as_is"
    ignored_scope: tuple[str, ...] = field(default=())
    levels: tuple[float, ...] = field(default=())
    fewer_experts: float = 0.0
    fuse_blocks: bool = True
    sequential: InitVar[bool | None] = None  # the old name of drift_correction

    def __post_init__(self, sequential: bool | None) -> None:
        """Refuse what cannot be meant."""
        if sequential is not None:
            warnings.warn("sequential is drift_correction now; use that name", DeprecationWarning, stacklevel=3)
            object.__setattr__(self, "drift_correction", sequential)
        for item in dataclasses.fields(self):
            _check_type(item.name, getattr(self, item.name), item.default)
        object.__setattr__(self, "target_sparsity", _target(self.target_sparsity))
        if self.lm_head != AUTO and not isinstance(self.lm_head, bool):
            msg = f"lm_head is {self.lm_head!r}; give true, false or auto"
            raise UsageError(msg)
        for name, allowed in CHOICES.items():
            _one_of(name, getattr(self, name), allowed)
        if not (self.ramp == 0 or 0.01 <= self.ramp <= 100):
            msg = f"ramp is {self.ramp!r}; give 0 for none, or a width of 0.01 to 100 thresholds, such as 1"
            raise UsageError(msg)
        if self.ramp and (self.compensation or self.method == "cats"):
            other = "compensation" if self.compensation else "method cats"
            msg = f"ramp is {self.ramp}, which does not go with {other}; leave one of them out"
            raise UsageError(msg)
        if not 1 <= self.max_sparse_rows <= 64:
            msg = f"max_sparse_rows is {self.max_sparse_rows}; give a number from 1 to 64"
            raise UsageError(msg)
        object.__setattr__(self, "max_sparse_rows", int(self.max_sparse_rows))
        object.__setattr__(self, "ramp", float(self.ramp))
        patterns = (self.ignored_scope,) if isinstance(self.ignored_scope, str) else tuple(self.ignored_scope or ())
        for pattern in patterns:
            _check_pattern("ignored_scope", pattern)
        object.__setattr__(self, "ignored_scope", patterns)
        object.__setattr__(self, "levels", _levels(self.levels))
        object.__setattr__(self, "fewer_experts", self._fewer_experts())
        self._check_levels()

    def _fewer_experts(self) -> float:
        share = self.fewer_experts
        if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= float(share) < 1:
            msg = f"fewer_experts is {share!r}; give a share of at least 0 and below 1, such as 0.25, or 0 for all experts"
            raise UsageError(msg)
        if share and (self.compensation or self.method == "cats"):
            other = "compensation, which is learned with all experts" if self.compensation else "method cats"
            msg = f"fewer_experts is {share:g}, which does not go with {other}; leave one of them out"
            raise UsageError(msg)
        return float(share)

    def _check_levels(self) -> None:
        if not self.levels:
            return
        shown = ", ".join(f"{level:g}" for level in self.levels)
        if self.compensation or self.method == "cats" or isinstance(self.target_sparsity, Mapping):
            other = "compensation" if self.compensation else "method cats" if self.method == "cats" else "a target for each kind"
            msg = f"levels are {shown}, which do not go with {other}; leave one of them out"
            raise UsageError(msg)
        if self.target_sparsity in self.levels:
            return
        if self.target_sparsity != _DEFAULT_TARGET:
            msg = f"target_sparsity is {self.target_sparsity:g}, and a model starts with one of its levels, {shown}; give one of them"
            raise UsageError(msg)
        object.__setattr__(self, "target_sparsity", self.levels[-1])

    @property
    def drops_nothing(self) -> bool:
        """Whether every target is 0, and no expert is given up: our ops then replace the layers that they compute faster, and no more."""
        return not self.fewer_experts and self.prunes_nothing

    @property
    def prunes_nothing(self) -> bool:
        """Whether every target is 0."""
        targets = self.target_sparsity.values() if isinstance(self.target_sparsity, Mapping) else [self.target_sparsity]
        return not any(targets) and not any(self.levels)

    @classmethod
    def from_dict(cls, values: JsonMapping) -> SparsityConfig:
        """Build from plain values, as read from JSON or TOML.

        :raises UsageError: a key is unknown (the nearest known one is named) or the version is newer than this library's.
        """
        if not isinstance(values, Mapping):
            msg = f"the configuration is {values!r}; give keys with values, such as target_sparsity = 0.5"
            raise UsageError(msg)
        values = {_RENAMED.get(key, key): value for key, value in values.items()}
        version = values.pop("version", CONFIG_VERSION)
        if type(version) is not int or version < 1:
            msg = f"the configuration's version is {version!r}; give a whole number such as {CONFIG_VERSION}, or leave it out"
            raise UsageError(msg)
        if version > CONFIG_VERSION:
            msg = f"the configuration is of version {version}, this scap_ov knows up to {CONFIG_VERSION}; upgrade scap_ov"
            raise UsageError(msg)
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
                msg = f"unknown key '{key}'; {hint}"
                raise UsageError(msg)
        return cls(**values)

    def to_dict(self) -> JsonObject:
        """Plain values that `from_dict` reads back."""
        values = dataclasses.asdict(self)
        if isinstance(self.target_sparsity, Mapping):
            values["target_sparsity"] = dict(self.target_sparsity)
        values["ignored_scope"] = list(self.ignored_scope)
        values["levels"] = list(self.levels)
        if not self.levels:
            del values["levels"]  # so that a scap_ov that knows no levels reads what has none
        if not self.fewer_experts:
            del values["fewer_experts"]  # likewise
        if self.fuse_blocks:
            del values["fuse_blocks"]  # likewise
        if self.lm_head == AUTO:
            del values["lm_head"]  # likewise: where this was not there, the projection is what the plan says
        return {"version": CONFIG_VERSION, **values}


def _check_type(name: str, value: object, default: object) -> None:
    """A value must be of the kind of its default: "false" is no bool, 2.5 and true are no whole numbers."""
    if isinstance(default, bool):
        fits, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits, wanted = isinstance(value, Integral) and not isinstance(value, bool), f"a whole number such as {default}"
    elif name == "ramp":
        fits, wanted = (
            isinstance(value, Real) and not isinstance(value, bool),
            "0 for none, or a width of 0.01 to 100 thresholds, such as 1",
        )
    elif name == "levels":
        fits, wanted = value is None or isinstance(value, (list, tuple)), "a list of shares such as [0, 0.25, 0.5]"
    elif name == "ignored_scope":
        fits, wanted = value is None or isinstance(value, (str, list, tuple, set, frozenset)), "a list of names or re:patterns"
    else:
        return
    if not fits:
        msg = f"{name} is {value!r}; give {wanted}"
        raise UsageError(msg)


def _target(target: object) -> float | dict[str, float]:
    """The target as Python numbers."""
    values: dict[str, Any] = dict(target) if isinstance(target, Mapping) else {"": target}
    if not values:
        msg = "target_sparsity names no kind and no pattern; give a share such as 0.5, or one per kind such as {up: 0.4, down: 0.6}"
        raise UsageError(msg)
    for key, value in values.items():
        if isinstance(target, Mapping):
            _check_pattern("target_sparsity", key)
        where = f" for '{key}'" if key else ""
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
            msg = f"target_sparsity{where} is {value!r}; give a share of at least 0 and below 1, such as 0.5"
            raise UsageError(msg)
    found = {key: float(value) for key, value in values.items()}
    return found if isinstance(target, Mapping) else found[""]


def _levels(levels: object) -> tuple[float, ...]:
    """Levels as Python numbers, ascending."""
    values = tuple(levels) if isinstance(levels, (list, tuple)) else ()
    wrong = [v for v in values if isinstance(v, bool) or not isinstance(v, Real) or not 0 <= float(v) < 1]
    found = tuple(sorted(round(float(v), 6) for v in values)) if not wrong else ()
    near = [b for a, b in pairwise(found) if b - a < _LEAST_STEP]
    if wrong or near or len(values) > _MOST_LEVELS:
        what = f"{wrong[0]!r}" if wrong else f"{near[0]:g} twice" if near else f"{len(values)} levels"
        msg = f"levels hold {what}; give up to {_MOST_LEVELS} different shares of at least 0 and below 1, such as 0,0.25,0.4,0.5"
        raise UsageError(msg)
    return found


def _check_pattern(name: str, pattern: object) -> None:
    if not isinstance(pattern, str) or not pattern:
        msg = f"{name} holds {pattern!r}; give names of sites or layers, or re:patterns"
        raise UsageError(msg)
    if pattern.startswith("re:"):
        try:
            re.compile(pattern[3:])
        except re.error as e:
            msg = f"'{pattern}' in {name} is no regular expression ({e}); correct what follows 're:'"
            raise UsageError(msg) from e


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        msg = f"{name} is {value!r}; {hint}give one of {', '.join(allowed)}"
        raise UsageError(msg)
