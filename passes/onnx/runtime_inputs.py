"""Thresholds, centres and compensation as inputs of an ONNX model, so that many plans are tried in one session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from scap_ov.passes.onnx.emitter import Emitter
from scap_ov.passes.rules.places import CENTERS, COMPENSATION, THRESHOLDS, WHOLE, ParameterLayout
from scap_ov.sites import Site


@dataclass(frozen=True)
class SiteInputs:
    """Of one site: threshold and centre f32 [K], compensation f32 [N] of each layer, and what `whole` [K] bounds is read by half."""

    threshold: ir.Value
    center: ir.Value
    compensation: list[ir.Value]
    whole: ir.Value | None


class RuntimeInputs(ParameterLayout):
    """Three f32 vectors that become inputs of a model: thresholds [ΣK], centres [ΣK] and compensation [ΣN], in the order of the sites.

    :param model: gets the inputs.
    :param sites: in the order of the vectors.
    :param graded: add a fourth one, the thresholds [ΣK] up to which a channel is read by half.
    """

    def __init__(self, model: ir.Model, sites: Sequence[Site], *, graded: bool = False) -> None:
        super().__init__(sites)
        self._whole = _input(model, WHOLE, sum(site.in_features for site in sites)) if graded else None
        self._thresholds = _input(model, THRESHOLDS, sum(site.in_features for site in sites))
        self._centers = _input(model, CENTERS, sum(site.in_features for site in sites))
        self._compensation = _input(model, COMPENSATION, sum(site.out_features for site in sites))

    def of(self, emit: Emitter, site: Site) -> SiteInputs:
        """The parts that belong to a site, cut out of the vectors by nodes of `emit`."""
        start, parts = self.compensation_range[site.name][0], []
        for layer in site.layers:
            parts.append(_part(emit, self._compensation, start, start + layer.out_features))
            start += layer.out_features
        threshold, center = (_part(emit, vector, *self.channel_range[site.name]) for vector in (self._thresholds, self._centers))
        whole = _part(emit, self._whole, *self.channel_range[site.name]) if self._whole is not None and site.two_planes else None
        return SiteInputs(threshold, center, parts, whole)


def _input(model: ir.Model, name: str, size: int) -> ir.Value:
    value = ir.Value(name=name, shape=ir.Shape([size]), type=ir.TensorType(ir.DataType.FLOAT))
    model.graph.inputs.append(value)
    return value


def _part(emit: Emitter, vector: ir.Value, start: int, stop: int) -> ir.Value:
    bounds = [emit.constant(np.array([at], np.int64), "bound") for at in (start, stop)]
    return emit.op("Slice", vector, *bounds)
