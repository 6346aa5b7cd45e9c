"""Thresholds, centres and compensation of sites as parameters of a model that is run block by block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.fitting.thresholds import NOTHING
from scap_ov.gradients.piecewise import Values
from scap_ov.passes.openvino.portable_pattern import PatternWriter
from scap_ov.passes.rules.tensors import key_of
from scap_ov.sites import SiteKind

if TYPE_CHECKING:
    from scap_ov.passes.openvino.portable_pattern import Written
    from scap_ov.passes.rules.sites import FoundSites, SiteMatch
    from scap_ov.plan import SitePlan


class SiteSettings:
    """Thresholds, centres and compensation of sites as parameters, and their values.

    :param prunes: names of sites that have some.
    :param compensation: constants that pruned rows add to the outputs of their layers, too.
    :param graded: thresholds up to which channels are read by half, too, where weights are of 8 bits.
    :param ramp: of the plans that are tried.
    """

    def __init__(
        self, found: FoundSites, prunes: frozenset[str], *, compensation: bool = False, graded: bool = False, ramp: float = 0.0
    ) -> None:
        self.parameters: list[ov.Node] = []
        self.written: dict[str, Written] = {}
        self.values: Values = {}
        self._prunes, self._compensation, self._graded, self._ramp = prunes, compensation, graded, ramp
        self._own: dict[str, tuple[ov.Node, ov.Node, ov.Node | None, list[ov.Node]]] = {}
        self._sites = {match.site.name: match.site for match in found.matches}

    @property
    def pruning(self) -> list[ov.Node]:
        """The nodes that prune."""
        return [written.pruned for written in self.written.values()]

    @property
    def missed(self) -> list[ov.Node]:
        """The products with what the high plane of a weight misses; their right operand is the layer's own weight."""
        return [node for written in self.written.values() for node in written.lost if node is not None]

    def write(self, match: SiteMatch, source: ov.Output) -> ov.Output:
        """Put the site's pattern behind its input, or nothing.

        :return: the tensor that its layers read.
        """
        if match.site.name not in self._prunes:
            return source
        vector = ov.PartialShape([*[1] * (len(source.get_partial_shape()) - 1), match.site.in_features])
        threshold, center = (ov.op.Parameter(ov.Type.f32, vector) for _ in range(2))
        whole = ov.op.Parameter(ov.Type.f32, vector) if self._graded and match.site.two_planes else None
        extra = [ov.op.Parameter(ov.Type.f32, ov.PartialShape([layer.out_features])) for layer in match.site.layers]
        extra = extra if self._compensation else []
        self._own[match.site.name] = threshold, center, whole, extra
        self.parameters += [threshold, center, *([whole] if whole is not None else []), *extra]
        residuals = [_own_weight(matmul) for matmul in match.matmuls] if whole is not None else []
        tokens = match.block.source if match.block is not None and match.site.kind is SiteKind.EXPERT_DOWN else None
        written = PatternWriter(match.site.name, source, match.readers, "all", 0, self._ramp, tokens=tokens, products=match.matmuls).write(
            threshold.output(0),
            center.output(0),
            [p.output(0) for p in extra] or None,
            None if whole is None else whole.output(0),
            residuals,
        )
        self.written[match.site.name] = written
        self._set(match.site.name, None)
        return written.pruned.output(0)

    def prune(self, entries: Mapping[str, SitePlan], only: str | None = None) -> None:
        """Set every site as a plan has it; sites that it does not name are dense.

        :param only: a single site; the others stay as they are.
        """
        for name in self._own if only is None else [only] if only in self._own else []:
            self._set(name, entries.get(name))

    def _set(self, name: str, entry: SitePlan | None) -> None:
        threshold, center, whole, extra = self._own[name]
        shape = threshold.output(0).get_partial_shape().to_shape()
        wanted = [(threshold, NOTHING if entry is None else entry.threshold), (center, np.float32(0) if entry is None else entry.center)]
        by_half = NOTHING if entry is None or entry.whole_threshold is None else entry.whole_threshold
        if whole is not None:
            wanted.append((whole, by_half))
        elif entry is not None and entry.whole_threshold is not None:
            msg = f"site {name} is to be read by half, and the model was not built for that"
            raise RuntimeError(msg)
        for parameter, value in wanted:
            self.values[key_of(parameter.output(0))] = np.zeros(shape, np.float32) + np.float32(value)
        start = 0
        for parameter, layer in zip(extra, self._sites[name].layers if extra else (), strict=True):
            part = np.zeros(layer.out_features, np.float32)
            if entry is not None and entry.compensation is not None:
                part[:] = entry.compensation[start : start + layer.out_features]
            self.values[key_of(parameter.output(0))] = part
            start += layer.out_features


def _own_weight(matmul: ov.Node) -> ov.Output:
    """The weight of a layer, [N, K], once more: what its high plane misses is made of it when the block is loaded (gradients.layout)."""
    weight = ops.convert(matmul.input_value(1), np.float32)
    if not matmul.get_attributes()["transpose_b"]:
        weight = ops.transpose(weight, np.array([1, 0]))
    return weight.output(0)
