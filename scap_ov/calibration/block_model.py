"""A language model that is run block by block: with the inputs of its sites given out, dense or pruned, and their gradients.

Memory holds the weights of one block as f32; those of the others stay in the mapped file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.calibration.flow import Flow
from scap_ov.calibration.projection import Projection
from scap_ov.calibration.states import forget_states
from scap_ov.errors import UncutError
from scap_ov.fitting.thresholds import NOTHING
from scap_ov.gradients.attention_gradient import repeat_heads
from scap_ov.gradients.cut import Wanted
from scap_ov.gradients.piecewise import Piecewise, Values, carried
from scap_ov.gradients.reach import key_of
from scap_ov.models.main_output import Loss, main_output
from scap_ov.models.tensors import fed
from scap_ov.passes.openvino.find_sites import find_sites
from scap_ov.passes.openvino.gate_activation import gate_activation
from scap_ov.passes.openvino.portable_pattern import PatternWriter, follow
from scap_ov.passes.openvino.time_axis import time_first
from scap_ov.passes.rules.path import path_between
from scap_ov.sites import SiteKind
from scap_ov.statistics.collector import gate_name

if TYPE_CHECKING:
    from scap_ov.calibration.samples import Piece as Window
    from scap_ov.passes.rules.sites import FoundSites, SiteMatch
    from scap_ov.plan import SitePlan
    from scap_ov.sites import Site

Progress = Callable[[int, "int | None"], None]
Seen = Callable[[int, "dict[str, np.ndarray]"], None]


class BlockModel:
    """A model in pieces, a block each, and the output projection by itself.

    :param model: stock model; it is cloned.
    :param prunes: sites that can be pruned, by name; the others are dense whatever the plan. None for no site.
    :raises UncutError: it cannot be cut; the text tells why.
    :raises BadModelError: it has no site.
    """

    def __init__(self, model: ov.Model, *, prunes: Iterable[str] | None = None, compensation: bool = False) -> None:
        self.stock = model
        clone = model.clone()
        found = find_sites(clone, lm_head=True)
        self.sites = tuple(match.site for match in found.some())
        repeat_heads(clone)
        if forget_states(clone):
            msg = "its states start from nothing that the graph tells"
            raise UncutError(msg)
        taps = _taps(found)
        self.settings = _Settings(found, frozenset(prunes or ()), compensation=compensation)
        values = {match.site.name: self.settings.write(match, taps[match.site.name]) for match in found.matches}
        _check_forms(clone, list(taps.values()))
        main = main_output(clone.outputs, [s.out_features for s in self.sites if s.kind is SiteKind.LM_HEAD])
        if main.loss is not Loss.DIVERGENCE:
            msg = "it gives no logits"
            raise UncutError(msg)
        self.result = clone.outputs[main.places[0]].get_node().input_value(0)
        parameters = [*clone.get_parameters(), *self.settings.parameters]
        built = ov.Model([ops.result(self.result)], [], parameters, "scap_ov_blocks")
        built.validate_nodes_and_infer_types()
        wanted = [Wanted(m.site.name, values[m.site.name], _label(m.site)) for m in found.matches]
        self.piecewise = Piecewise(built, wanted, self.settings.parameters, self.result, taps, self.settings.pruning)
        self.blocks = len(self.piecewise.pieces) - 1
        self.head = Projection(self.piecewise, self.settings.pruning, self.result, lambda flow: self.values(self.blocks, flow))
        border = self.piecewise.pieces[0].border.get_partial_shape()
        self.width = border[-1].get_length() if border[-1].is_static else max(site.in_features for site in self.sites)

    def start(self, windows: Sequence[Window]) -> list[Flow]:
        """Windows before the first block."""
        prologue = self.piecewise.prologue
        return [Flow(w, prologue(fed(w.inputs, prologue.ports))) for w in windows]

    def advance(self, number: int, flows: Sequence[Flow], seen: Seen | None = None) -> None:
        """Take windows through one block.

        :param seen: called for each with its index and the inputs of the block's sites, by name; arrays are valid during the call only.
        """
        piece, later = self.piecewise.pieces[number], self.piecewise.pieces[number + 1 :]
        for index, flow in enumerate(flows):
            given, taps = self.piecewise.forward(number, self.values(number, flow))
            flow.hidden = given[key_of(piece.border)]
            flow.values |= carried(piece, later, given)
            if seen:
                seen(index, taps)

    def inputs_of(self, windows: Sequence[Window], entries: Mapping[str, SitePlan], seen: Seen, progress: Progress | None = None) -> None:
        """Run windows with these sites pruned, and give out the inputs of all sites, before they are pruned.

        :param seen: called block by block, with a window's index and the inputs by site name.
        :param progress: called with (steps done, steps).
        """
        self.settings.prune(entries)
        flows = self.start(windows)
        for number in range(self.blocks):
            self.advance(number, flows, seen)
            if progress:
                progress(number + 1, self.blocks)
        for index, flow in enumerate(flows):
            seen(index, self.head.taps(flow))

    def check_gradients(self) -> None:
        """Find out whether all blocks can be differentiated, before anything long begins.

        :raises BadModelError: an operation has no gradient rule.
        """
        self.head.check_gradients()
        self.piecewise.check_gradients(range(self.blocks))

    def values(self, number: int, flow: Flow) -> Values:
        """All that a piece may read."""
        entry = self.piecewise.pieces[number].entry
        return {**flow.values, **self.settings.values, **({key_of(entry): flow.hidden} if entry is not None else {})}


class _Settings:
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
        select = next(t.get_node() for t in _readers(source) if t.get_node().get_type_name() == "Select")
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


def _taps(found: FoundSites) -> dict[str, ov.Output]:
    """A tensor of its own for the input of every site, read by the site's layers alone; and the activated gate of every gated FFN."""
    taps = {}
    for match in found.matches:
        gate = gate_activation(match.source) if match.site.kind is SiteKind.DOWN else None
        paths = [path_between(matmul, match.source) for matmul in match.matmuls]
        same = ops.convert(match.source, match.source.get_element_type().get_type_name())
        for matmul, path in zip(match.matmuls, paths, strict=True):
            matmul.input(0).replace_source_output(follow(same.output(0), path))
        taps[match.site.name] = same.output(0)
        if gate is not None:
            taps[gate_name(match.site.name)] = gate
    return taps


def _check_forms(model: ov.Model, taps: list[ov.Output]) -> None:
    """Refuse activations that are computed in another form than [B, T, K] of f32.

    :raises UncutError: it has such.
    """
    if any(value.get_element_type() != ov.Type.f32 for value in taps):
        msg = "its activations are not f32"
        raise UncutError(msg)
    if any(time_first(model, taps)):
        msg = "its hidden states have the sequence before the batch"
        raise UncutError(msg)


def _label(site: Site) -> str:
    """Sites of one label may share a piece."""
    return site.kind.value if site.kind is SiteKind.LM_HEAD else str(site.block)


def _readers(value: ov.Output) -> list[ov.Input]:
    return list(value.get_target_inputs())
