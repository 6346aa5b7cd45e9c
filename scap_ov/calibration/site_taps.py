"""The tensors of a model that calibration observes."""

from __future__ import annotations

import openvino as ov

from scap_ov.passes.openvino.gate_activation import gate_activation
from scap_ov.passes.rules.sites import FoundSites
from scap_ov.sites import SiteKind
from scap_ov.statistics.collector import gate_name


def site_taps(found: FoundSites) -> dict[str, ov.Output]:
    """The input of every site by the site's name, and the activated gate of every gated FFN by `gate_name`."""
    taps = {}
    for match in found.matches:
        taps[match.site.name] = match.source
        gate = gate_activation(match.source) if match.site.kind is SiteKind.DOWN else None
        if gate is not None:
            taps[gate_name(match.site.name)] = gate
    return taps
