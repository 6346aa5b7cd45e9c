"""What the commands say about routed experts: how many tokens of calibration used each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scap_ov.json_values import JsonMapping

if TYPE_CHECKING:
    from collections.abc import Iterator


def width(site: JsonMapping) -> str:
    """Output channels of a site's layers as the table shows them: `128+128`, of routed experts `2 of 8 x (128+128)`."""
    sizes = "+".join(map(str, site["out_features"]))
    return f"{site['experts_per_token']} of {site['experts']} x ({sizes})" if site.get("experts") else sizes


def tokens_per_expert(summary: JsonMapping, *, warnings_only: bool = False) -> Iterator[str]:
    """Lines about every layer of routed experts that was calibrated, and a warning where experts were never used.

    :param summary: of a plan; its notes hold `expert_tokens`, tokens by site and expert.
    """
    fewer = summary.get("notes", {}).get("fewer_experts")
    if fewer and not warnings_only:
        for site, (used, all_of_them) in fewer["used"].items():
            if site.endswith(".expert_up"):
                yield f"{site}: a token uses {used} of the {all_of_them} experts that the router was made for"
    for site, tokens in summary.get("notes", {}).get("expert_tokens", {}).items():
        if not warnings_only:
            yield f"{site}: tokens of calibration that used each expert, {min(tokens)} to {max(tokens)}: {' '.join(map(str, tokens))}"
        unseen = [str(expert) for expert, count in enumerate(tokens) if not count]
        if unseen:
            yield (
                f"warning: calibration never used {len(unseen)} of {len(tokens)} experts of {site} ({', '.join(unseen[:8])}); all experts "
                "of a layer share their thresholds, so they are pruned all the same: calibrate on more or other text"
            )
