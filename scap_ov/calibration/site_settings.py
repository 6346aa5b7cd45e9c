"""Thresholds, centres and compensation of sites as parameters of a model that is run block by block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov

from scap_ov.fitting.thresholds import NOTHING
from scap_ov.gradients.piecewise import Values
from scap_ov.gradients.reach import key_of
from scap_ov.passes.openvino.portable_pattern import PatternWriter

if TYPE_CHECKING:
    from scap_ov.passes.rules.sites import FoundSites, SiteMatch
    from scap_ov.plan import SitePlan


class SiteSettings:
    """Thresholds, centres and compensation of sites as parameters, and their values.

    :param prunes: names of sites that have some.
    """

    def __init__(self, found: FoundSites, prunes: frozenset[str], *, compensation: bool) -> None:
        self.parameters: list[ov.Node] = []
        self.pruning: list[ov.Node] = []
        self.values: Values = {}
        self._prunes, self._compensation = prunes, compensation
        self._own: dict[str, tuple[ov.Node, ov.Node, list[ov.Node]]] = {}
        self._sites = {match.site.name: match.site for match in found.matches}

    def write(self, match: SiteMatch, source: ov.Output) -> ov.Output:
        """Put the site's pattern behind its input, or nothing.

        :return: the tensor that its layers read.
        """
        if match.site.name not in self._prunes:
            return source
        lead = [1] * (len(source.get_partial_shape()) - 1)
        threshold, center = (ov.op.Parameter(ov.Type.f32, ov.PartialShape([*lead, match.site.in_features])) for _ in range(2))
        extra = [ov.op.Parameter(ov.Type.f32, ov.PartialShape([layer.out_features])) for layer in match.site.layers]
        self._own[match.site.name] = threshold, center, extra
        self.parameters += [threshold, center, *(extra if self._compensation else [])]
        writer = PatternWriter(match.site.name, source, match.matmuls, "all", 0)
        writer.write(threshold.output(0), center.output(0), [p.output(0) for p in extra] if self._compensation else None)
        select = next(t.get_node() for t in source.get_target_inputs() if t.get_node().get_type_name() == "Select")
        self.pruning.append(select)
        self.prune({})
        return select.output(0)

    def prune(self, entries: Mapping[str, SitePlan]) -> None:
        """Set every site as a plan has it; sites that it does not name are dense."""
        for name, (threshold, center, extra) in self._own.items():
            entry = entries.get(name)
            shape = threshold.output(0).get_partial_shape().to_shape()
            wide = np.full(shape, NOTHING if entry is None else 0, np.float32)
            self.values[key_of(threshold.output(0))] = wide if entry is None else wide + np.float32(entry.threshold)
            self.values[key_of(center.output(0))] = np.zeros(shape, np.float32) + np.float32(0 if entry is None else entry.center)
            start = 0
            for parameter, layer in zip(extra, self._sites[name].layers, strict=True):
                part = np.zeros(layer.out_features, np.float32)
                if entry is not None and entry.compensation is not None:
                    part[:] = entry.compensation[start : start + layer.out_features]
                self.values[key_of(parameter.output(0))] = part
                start += layer.out_features
