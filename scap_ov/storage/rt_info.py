"""What scap_ov notes inside a model (rt_info under "scap_ov") and beside it (scap_config.json): configuration and summary of the plan.

Both hold the same three values: `version` of this format, `config` (SparsityConfig.to_dict) and `summary` (plain JSON, see `summarise`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from scap_ov.errors import BadModelError
from scap_ov.json_values import JsonMapping, JsonObject
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sites import Site, WeightSpec

RECORD_VERSION = 1
_Types = dict[str, "type | tuple[type, ...]"]
_NUMBER = (int, float)
_SUMMARY: _Types = {"form": str, "expected_sparsity": _NUMBER, "sites": list, "skipped": list}
_SITE: _Types = {"name": str, "kind": str, "weights": str, "in_features": int, "out_features": list, "planned_sparsity": _NUMBER,
         "state": str, "reason": str}  # fmt: skip
_READS: _Types = {"dropped": _NUMBER, "half": _NUMBER, "whole": _NUMBER}
_LEVEL: _Types = {"level": _NUMBER, "expected_sparsity": _NUMBER, **_READS, "sites": dict}
# what older versions did not write
_SOMETIMES: _Types = {"notes": dict, "levels": list, "start_level": _NUMBER, "fingerprint": str}
_SOMETIMES_OF_SITE: _Types = {"block": int, "counted": bool, "experts": int, "experts_per_token": int, "layers": list, **_READS}
CONFIG_FILE = "scap_config.json"
NOT_LOWERED = "portable, not lowered"  # begins the reason of a site that is pruned in standard ops, where the op cannot take it


class HasRecord(Protocol):
    """A model that values can be noted in: ov.Model, OnnxModel."""

    def has_rt_info(self, path: list[str], /) -> bool:
        """Whether there is a value."""

    def get_rt_info(self, path: list[str], /) -> Any:
        """It: an OVAny, or the text itself."""

    def set_rt_info(self, value: str, path: list[str], /) -> None:
        """Note it."""


def summarise(plan: SparsityPlan, form: str, stock: Mapping[str, str] | None = None, skipped: Sequence[tuple[str, str]] = ()) -> JsonObject:
    """The plan in plain values, small enough to travel inside a model.

    :param form: `portable` or `lowered`.
    :param stock: site name -> why a site that was found is left as it was.
    :param skipped: layers that cannot be a site, with the reason.
    :return: form, fingerprint, expected_sparsity (model-wide), notes, and for each site its description, the share of its bytes that
        is planned not to be read, the shares of channels that are dropped, read by half and read whole, whether shares of the model count
        it (`SparsityPlan.counted`), state and reason. Of a plan with levels, `levels` with the same for each, and `start_level`.
    """
    stock = dict(stock or {})
    sites = []
    unread = 0.0
    counted = {site.name for site in plan.counted}
    levels = list(plan.levels.values()) or [plan.entries]
    for site in plan.sites:
        entry = plan.entries.get(site.name)
        pruned = any(site.name in entries for entries in levels) and site.name not in stock
        if pruned and entry is not None:
            unread += site.weight_bytes * entry.expected_sparsity
        sites.append({
            **describe(site), "planned_sparsity": entry.expected_sparsity if entry is not None else 0.0,
            **_reads(entry), "counted": site.name in counted,
            "state": form if pruned else "portable" if stock.get(site.name, "").startswith(NOT_LOWERED) else "stock",
            "reason": "" if pruned else stock.get(site.name, "the plan has no entry for this site"),
        })  # fmt: skip
    total = sum(site.weight_bytes for site in plan.counted)
    told = {"levels": _levels(plan, stock), "start_level": plan.start_level} if plan.levels else {}
    return {"form": form, "fingerprint": plan.fingerprint, "expected_sparsity": unread / total if total else 0.0, **told,
            "notes": plan.notes, "sites": sites, "skipped": [list(pair) for pair in skipped]}  # fmt: skip


def _reads(entry: SitePlan | None) -> dict[str, float]:
    return {"dropped": 0.0, "half": 0.0, "whole": 1.0} if entry is None else entry.expected_reads()


def _levels(plan: SparsityPlan, stock: Mapping[str, str]) -> list[JsonObject]:
    """Of every level, the shares of the sites' bytes that are not read and of channels, model-wide and planned of each site."""
    total = sum(site.weight_bytes for site in plan.counted) or 1
    found = []
    for level in sorted(plan.levels):
        entries = {name: entry for name, entry in plan.levels[level].items() if name not in stock}
        unread = {site.name: entries[site.name].expected_sparsity if site.name in entries else 0.0 for site in plan.sites}
        reads = [(site.weight_bytes / total, _reads(entries.get(site.name))) for site in plan.counted]
        found.append({
            "level": level, "expected_sparsity": sum(site.weight_bytes * unread[site.name] for site in plan.sites) / total,
            **{what: sum(weight * shares[what] for weight, shares in reads) for what in ("dropped", "half", "whole")},
            "sites": unread,
        })  # fmt: skip
    return found


def describe(site: Site) -> JsonObject:
    """A site in plain values: name, kind, block, K, N of each layer, weight forms and layer names; of routed experts how many there are."""
    experts = {"experts": site.experts, "experts_per_token": site.experts_per_token} if site.experts else {}
    return {**experts, "name": site.name, "kind": site.kind.value, "block": site.block, "in_features": site.in_features,
            "out_features": [layer.out_features for layer in site.layers], "weights": weight_form(site.layers[0].weight),
            "layers": [layer.name for layer in site.layers]}  # fmt: skip


def weight_form(weight: WeightSpec) -> str:
    """Such as `u4 g32 zp`: stored type, input channels per scale, zero points."""
    group = f" g{weight.group_size}" if weight.group_size else ""
    return f"{weight.dtype}{group}{' zp' if weight.has_zero_point else ''}"


def write_record(model: HasRecord, config: JsonMapping, summary: JsonMapping) -> None:
    """Note configuration and summary inside the model."""
    model.set_rt_info(str(RECORD_VERSION), ["scap_ov", "version"])
    model.set_rt_info(json.dumps(config, sort_keys=True), ["scap_ov", "config"])
    model.set_rt_info(json.dumps(summary, sort_keys=True), ["scap_ov", "summary"])


def read_record(model: HasRecord) -> JsonObject | None:
    """What `write_record` noted, or None in a model that scap_ov did not write.

    :raises BadModelError: the record is of a newer version, or damaged.
    """
    if not model.has_rt_info(["scap_ov", "version"]):
        return None
    try:
        version = int(_text(model, "version"))
        if not 1 <= version <= RECORD_VERSION:
            msg = f"the model was written by a newer scap_ov (record version {version}, this one knows {RECORD_VERSION}); upgrade scap_ov"
            raise BadModelError(msg)
        summary = checked_summary(json.loads(_text(model, "summary")))
        return {"version": version, "config": json.loads(_text(model, "config")), "summary": summary}
    except (ValueError, RuntimeError) as e:
        msg = f"the scap_ov record inside the model is damaged ({e}); apply the plan to the stock model again"
        raise BadModelError(msg) from e


def checked_summary(summary: Any) -> JsonObject:
    """A summary as `summarise` makes it, also of older versions.

    :raises ValueError: an entry is missing or of another type; says which.
    """
    _check("the summary", summary, _SUMMARY, _SOMETIMES)
    for site in summary["sites"]:
        _check("a site", site, _SITE, _SOMETIMES_OF_SITE)
        _check("a site of experts", site, {"experts_per_token": int} if site.get("experts") else {})
        if not all(isinstance(n, int) for n in site["out_features"]):
            msg = "a site has no out_features of its type"
            raise ValueError(msg)
    for level in summary.get("levels", []):
        _check("a level", level, _LEVEL)
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(t, str) for t in pair) for pair in summary["skipped"]):
        msg = "skipped is no list of layers with reasons"
        raise ValueError(msg)
    tokens = summary.get("notes", {}).get("expert_tokens", {})
    if not isinstance(tokens, dict) or not all(isinstance(counts, list) and counts for counts in tokens.values()):
        msg = "the notes have no expert_tokens of its type"
        raise ValueError(msg)
    return dict(summary)


def _check(what: str, values: object, wanted: _Types, sometimes: _Types | None = None) -> None:
    given = values if isinstance(values, dict) else {}
    wanted = {**wanted, **{key: kind for key, kind in (sometimes or {}).items() if key in given}}
    wrong = next((key for key, kind in wanted.items() if not isinstance(given.get(key), kind)), None)
    if wrong is not None:
        msg = f"{what} has no {wrong} of its type"
        raise ValueError(msg)


def write_config_file(model: HasRecord, folder: Path) -> None:
    """Write scap_config.json beside a model that carries a record; nothing for other models."""
    record = read_record(model)
    if record is not None:
        (folder / CONFIG_FILE).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _text(model: HasRecord, key: str) -> str:
    value = model.get_rt_info(["scap_ov", key])
    return str(getattr(value, "value", value))
