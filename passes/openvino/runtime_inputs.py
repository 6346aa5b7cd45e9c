"""Thresholds, centres and compensation as parameters of a model, so that many plans are tried without compiling again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.passes.rules.places import CENTERS, COMPENSATION, THRESHOLDS, WHOLE, ParameterLayout
from scap_ov.sites import Site


class RuntimeInputs(ParameterLayout):
    """Three f32 vectors that become parameters of a model: thresholds [ΣK], centres [ΣK] and compensation [ΣN], in the order of the sites.

    :param model: gets the parameters.
    :param sites: in the order of the vectors.
    :param graded: add a fourth one, the thresholds [ΣK] up to which a channel is read by half.
    """

    def __init__(self, model: ov.Model, sites: Sequence[Site], *, graded: bool = False) -> None:
        super().__init__(sites)
        self._thresholds = _parameter(model, THRESHOLDS, sum(site.in_features for site in sites))
        self._whole = _parameter(model, WHOLE, sum(site.in_features for site in sites)) if graded else None
        self._centers = _parameter(model, CENTERS, sum(site.in_features for site in sites))
        self._compensation = _parameter(model, COMPENSATION, sum(site.out_features for site in sites))

    def of(self, site: Site, rank: int) -> tuple[ov.Output, ov.Output, list[ov.Output]]:
        """Threshold and centre [1, …, K] and the compensation [N] of each layer of one site."""
        shape = ops.constant(np.array([1] * (rank - 1) + [-1], np.int64))
        vectors = [_part(vector, *self.channel_range[site.name]) for vector in (self._thresholds, self._centers)]
        threshold, center = (ops.reshape(vector, shape, special_zero=False) for vector in vectors)
        start, parts = self.compensation_range[site.name][0], []
        for layer in site.layers:
            parts.append(_part(self._compensation, start, start + layer.out_features).output(0))
            start += layer.out_features
        return threshold.output(0), center.output(0), parts

    def whole_of(self, site: Site, rank: int) -> ov.Output | None:
        """The threshold [1, …, K] up to which a channel of one site is read by half; None where nothing is."""
        if self._whole is None:
            return None
        shape = ops.constant(np.array([1] * (rank - 1) + [-1], np.int64))
        return ops.reshape(_part(self._whole, *self.channel_range[site.name]), shape, special_zero=False).output(0)


def _parameter(model: ov.Model, name: str, size: int) -> ov.Node:
    parameter = ops.parameter([size], np.float32, name=name)
    parameter.output(0).get_tensor().set_names({name})
    model.add_parameters([parameter])
    return parameter


def _part(vector: ov.Node, start: int, stop: int) -> ov.Node:
    return ops.slice(vector, np.array([start]), np.array([stop]), np.array([1]))
