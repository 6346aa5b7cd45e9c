"""The tensors of a model that calibration observes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import openvino as ov

from scap_ov.passes.openvino.expert_rows import chosen_rows
from scap_ov.passes.openvino.gate_activation import gate_activation
from scap_ov.passes.rules.sites import FoundSites, SiteMatch
from scap_ov.passes.rules.weight_matrix import WeightMatrix
from scap_ov.sites import SiteKind
from scap_ov.statistics.collector import expert_name, gate_name


def site_taps(found: FoundSites) -> dict[str, ov.Output]:
    """The input of every site by its name, the activated gate of gated FFNs by `gate_name`, the experts of each token by `expert_name`.

    What `down` of routed experts reads is given out for these alone, [T, k, N].
    """
    taps = {}
    for match in found.matches:
        taps[match.site.name] = match.source
        if match.block is not None and match.site.kind is SiteKind.EXPERT_UP:
            taps[expert_name(match.site.name)] = match.block.ids
        elif match.block is not None:
            taps[match.site.name] = chosen_rows(match.block, match.source)
        gate = gate_activation(match.source) if match.site.kind is SiteKind.DOWN else None
        if gate is not None:
            taps[gate_name(match.site.name)] = gate
    return taps


def summarised(match: SiteMatch) -> Iterable[WeightMatrix]:
    """The weights whose summary a profile keeps: those of the layers; of routed experts as many as a token uses, spread evenly."""
    if match.block is None:
        return match.weights
    experts = np.linspace(0, match.block.experts - 1, match.block.used).astype(int)
    sizes = [weight.n // match.block.experts for weight in match.weights]
    return (weight.part(int(e) * n, (int(e) + 1) * n) for e in experts for weight, n in zip(match.weights, sizes, strict=True))
