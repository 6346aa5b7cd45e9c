"""The slope of the divergence over a plan's constants and thresholds, block by block; and what the plan loses and leaves unread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.calibration.block_model import part_name
from scap_ov.calibration.borders import Borders
from scap_ov.calibration.samples import counted
from scap_ov.tuning.block_losses import BlockLosses, Dense, Normaliser
from scap_ov.tuning.site_slopes import SiteSlopes, site_slopes

if TYPE_CHECKING:
    import openvino as ov

    from scap_ov.calibration.flow import Flow
    from scap_ov.calibration.projection import HeadGradient
    from scap_ov.calibration.samples import CalibrationWindow
    from scap_ov.models.opened import OpenedModel
    from scap_ov.plan import SitePlan

Taken = dict[str, list[SiteSlopes]]


class BlockSlopes:
    """A model whose plans can be improved step by step.

    :param model: stock model; it is cloned.
    :param lm_head: plans prune the output projection.
    :param graded: plans read channels by half.
    :raises UncutError: it cannot be cut into blocks.
    :raises BadModelError: an operation has no gradient rule.
    """

    def __init__(self, model: ov.Model | OpenedModel, *, lm_head: bool = False, graded: bool = False) -> None:
        self._losses = BlockLosses(model, lm_head=lm_head, graded=graded, learn=True)
        self._blocks = self._losses.blocks
        self._blocks.check_gradients()
        self.stock, self.sites = self._losses.stock, self._blocks.sites

    def measure(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Mean KL(dense ‖ pruned) by window, float64 [W], and the share of its bytes that each site leaves unread, [W] by name."""
        shares = {name: np.zeros(len(windows)) for name in entries}

        def seen(index: int, values: Mapping[str, np.ndarray]) -> None:
            for name, value in values.items():
                if name in entries:
                    rows = value.reshape(-1, value.shape[-1])[counted(windows[index].pruned, value.shape[:-1])]
                    shares[name][index] = unread_share(entries[name], rows)

        return self._losses.losses(windows, entries, seen).kl, shares

    def slopes(self, windows: Sequence[CalibrationWindow], entries: Mapping[str, SitePlan]) -> dict[str, list[SiteSlopes]]:
        """By site, the slopes of the divergence summed over the rows of each window."""
        dense, model = self._losses.dense(windows), self._blocks
        model.settings.prune(entries)
        flows, borders = model.start(windows), Borders()
        for number in range(model.blocks):
            borders.push([flow.hidden for flow in flows])
            model.advance(number, flows)
        heads = self._head(dense, flows, entries)
        model.settings.prune(entries)
        found: Taken = {}
        for flow, head in zip(flows, heads, strict=True):
            self._take(found, flow, entries, head.inputs)
        gradients = [head.entry for head in heads]
        for number in reversed(range(model.blocks)):
            for flow, hidden in zip(flows, borders.pop(), strict=True):
                flow.hidden = hidden
            gradients = [self._block(found, number, flow, entries, gradient) for flow, gradient in zip(flows, gradients, strict=True)]
        return found

    def _block(self, found: Taken, number: int, flow: Flow, entries: Mapping[str, SitePlan], gradient: np.ndarray) -> np.ndarray:
        entry, inputs = self._blocks.piecewise.backward(number, self._blocks.values(number, flow), gradient)
        self._take(found, flow, entries, inputs)
        return entry if entry is not None else np.zeros(0, np.float32)

    def _head(self, dense: Sequence[Dense], flows: Sequence[Flow], entries: Mapping[str, SitePlan]) -> list[HeadGradient]:
        """The gradient of KL(dense ‖ pruned), which at the logits is the difference of the probabilities, in the rows that count."""
        head, norms = self._blocks.head, [Normaliser() for _ in flows]
        for part, weights in head.chunks():
            for flow, norm in zip(flows, norms, strict=True):
                norm.add(self._losses.chunk(flow, part, weights, entries))
        logs = [norm.log() for norm in norms]
        sums: list[list[np.ndarray] | None] = [None] * len(flows)
        for part, weights in head.chunks():
            for i, (flow, own) in enumerate(zip(flows, dense, strict=True)):
                reference = np.exp(self._losses.reference(own, part, weights))
                logits = self._losses.chunk(flow, part, weights, entries)
                slope = np.exp((logits - logs[i][:, None]).astype(np.float32)) - reference
                slope[~counted(flow.window.pruned, len(slope))] = 0
                sums[i] = head.collect(sums[i], head.gradient(flow, part, weights, slope))
        return [head.finished(s) for s in sums if s is not None]

    def _take(self, found: Taken, flow: Flow, entries: Mapping[str, SitePlan], values: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        for name in values:
            if name not in entries:
                continue
            keep = counted(flow.window.pruned, values[name][0].shape[:-1])
            x = _rows(values[part_name(name, "input")][0], keep)
            half = values.get(part_name(name, "half"))
            layers = next(site.layers for site in self.sites if site.name == name)
            outputs = [_rows(values[part_name(name, i)][1], keep) for i in range(len(layers))]
            own = site_slopes(
                entries[name],
                x,
                _rows(values[name][1], keep),
                None if half is None else _rows(half[1], keep),
                np.concatenate(outputs, axis=1),
            )
            found.setdefault(name, []).append(own)


def unread_share(entry: SitePlan, rows: np.ndarray) -> float:
    """The share of its bytes that a site leaves unread on some rows, float32 [R, K]."""
    distance = np.abs(rows - entry.center)
    dropped = (distance <= entry.threshold).mean()
    if entry.whole_threshold is None:
        return float(dropped)
    return float((dropped + np.maximum((distance <= entry.whole_threshold).mean(), dropped)) / 2)


def _rows(value: np.ndarray, keep: np.ndarray) -> np.ndarray:
    return value.reshape(-1, value.shape[-1])[keep]
