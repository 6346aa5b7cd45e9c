"""A language model that is run block by block: with the inputs of its sites given out, dense or pruned, and their gradients.

Memory holds the weights of one block as f32, of all its experts where it routes; those of the others stay in the mapped file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.calibration.flow import Flow
from scap_ov.calibration.projection import Projection
from scap_ov.calibration.site_settings import SiteSettings
from scap_ov.calibration.states import forget_states
from scap_ov.errors import UncutError
from scap_ov.gradients.attention_gradient import repeat_heads
from scap_ov.gradients.cut import Wanted
from scap_ov.gradients.piecewise import Piecewise, Values, carried
from scap_ov.models.main_output import Loss, main_output
from scap_ov.models.opened import OpenedModel, opened_model
from scap_ov.models.tensors import before_narrowing, fed
from scap_ov.passes.openvino.expert_rows import chosen_rows
from scap_ov.passes.openvino.gate_activation import gate_activation
from scap_ov.passes.openvino.portable_pattern import follow
from scap_ov.passes.openvino.time_axis import time_first
from scap_ov.passes.rules.path import path_between
from scap_ov.passes.rules.tensors import key_of
from scap_ov.progress import Progress
from scap_ov.sites import SiteKind
from scap_ov.statistics.collector import expert_name, gate_name, routing_name

if TYPE_CHECKING:
    from scap_ov.calibration.samples import CalibrationWindow as Window
    from scap_ov.passes.rules.sites import FoundSites
    from scap_ov.plan import SitePlan
    from scap_ov.sites import Site

Seen = Callable[[int, "dict[str, np.ndarray]"], None]


class BlockModel:
    """A model in pieces, a block each, and the output projection by itself.

    :param model: stock model; it is cloned.
    :param prunes: sites that can be pruned, by name; the others are dense whatever the plan. None for no site.
    :param compensation: plans may have constants.
    :param graded: plans may read channels by half; takes more memory and time where weights are of 8 bits.
    :param ramp: that of the plans which are tried.
    :param routing: differentiate with respect to the routing weights of experts (`routing_name`), too.
    :param learn: differentiate with respect to what is pruned, read by half and given by the layers, too (`part_name`).
    :raises UncutError: it cannot be cut; the text tells why.
    :raises BadModelError: it has no site.
    """

    def __init__(
        self, model: ov.Model | OpenedModel, *, prunes: Iterable[str] | None = None, compensation: bool = False, graded: bool = False,
        ramp: float = 0.0, learn: bool = False, routing: bool = False,
    ) -> None:  # fmt: skip
        opened = opened_model(model)
        self.stock = opened.model
        clone, found = opened.copy_in_f32()
        self.sites = tuple(match.site for match in found.some())
        if (compensation or learn or ramp) and any(match.block is not None for match in found.matches):
            msg = "it has routed experts, which have neither compensation nor a ramp"
            raise UncutError(msg)
        repeat_heads(clone)
        if forget_states(clone):
            msg = "its states start from nothing that the graph tells"
            raise UncutError(msg)
        taps = _taps(found)
        shown = {m.site.name: partial(chosen_rows, m.block) for m in found.matches if m.site.kind is SiteKind.EXPERT_DOWN and m.block}
        self.settings = SiteSettings(found, frozenset(prunes or ()), compensation=compensation, graded=graded, ramp=ramp)
        values = {match.site.name: self.settings.write(match, taps[match.site.name]) for match in found.matches}
        _check_forms(clone, found, [taps[match.site.name] for match in found.matches])
        main = main_output(clone.outputs, [s.out_features for s in self.sites if s.kind is SiteKind.LM_HEAD])
        if main.loss is not Loss.DIVERGENCE:
            msg = "it gives no logits"
            raise UncutError(msg)
        self.result = before_narrowing(clone.outputs[main.places[0]].get_node().input_value(0))
        if self.result.get_element_type() != ov.Type.f32:
            msg = f"its logits are {self.result.get_element_type().get_type_name()}"
            raise UncutError(msg)
        parameters = [*clone.get_parameters(), *self.settings.parameters]
        built = ov.Model([ops.result(self.result)], [], parameters, "scap_ov_blocks")
        built.validate_nodes_and_infer_types()
        wanted = [Wanted(m.site.name, values[m.site.name], _label(m.site)) for m in found.matches]
        routers = [m for m in found.matches if m.block is not None and m.site.kind is SiteKind.EXPERT_UP] if routing else []
        wanted += [Wanted(routing_name(m.site.name), m.block.routing, _label(m.site)) for m in routers if m.block is not None]
        for match in found.matches if learn else ():
            parts = self._parts(match.site.name, taps[match.site.name])
            wanted += [Wanted(name, value, _label(match.site)) for name, value in parts.items()]
        self.piecewise = Piecewise(
            built, wanted, self.settings.parameters, self.result, taps, self.settings.pruning, self.settings.missed, shown
        )
        self.blocks = len(self.piecewise.pieces) - 1
        self.head = Projection(self.piecewise, self.settings, self.result)
        border = self.piecewise.pieces[0].border.get_partial_shape()
        self.width = border[-1].get_length() if border[-1].is_static else max(site.in_features for site in self.sites)

    def _parts(self, name: str, source: ov.Output) -> dict[str, ov.Output]:
        written = self.settings.written.get(name)
        if written is None:
            return {}
        half = {} if written.half is None else {part_name(name, "half"): written.half.output(0)}
        layers = {part_name(name, i): layer.output(0) for i, layer in enumerate(written.layers)}
        return {part_name(name, "input"): source, **half, **layers}

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
        return self.head.values(number, flow)


def part_name(site: str, part: str | int) -> str:
    """What a tensor of a site's pattern is called among those that are differentiated.

    :param part: `input` before it is pruned, `half` of what is read by half, or the number of a layer for what that gives.
    """
    return f"{site}|{part}"


def _taps(found: FoundSites) -> dict[str, ov.Output]:
    """A tensor of its own for the input of every site, read by its layers alone; activated gates, and the experts of each token."""
    taps = {}
    for match in found.matches:
        gate = gate_activation(match.source) if match.site.kind is SiteKind.DOWN else None
        paths = [path_between(reader, match.source) for reader in match.readers]
        same = ops.convert(match.source, match.source.get_element_type().get_type_name())
        for reader, path in zip(match.readers, paths, strict=True):
            reader.input(0).replace_source_output(follow(same.output(0), path))
        taps[match.site.name] = same.output(0)
        if gate is not None:
            taps[gate_name(match.site.name)] = gate
        if match.block is not None and match.site.kind is SiteKind.EXPERT_UP:
            taps[expert_name(match.site.name)] = match.block.ids
    return taps


def _check_forms(model: ov.Model, found: FoundSites, taps: list[ov.Output]) -> None:
    """Refuse activations that are computed in another form than [B, T, K] of f32.

    :raises UncutError: it has such.
    """
    if any(value.get_element_type() != ov.Type.f32 for value in taps):
        msg = "its activations are not f32"
        raise UncutError(msg)
    if any(time_first(model, [t if m.block is None else m.block.source for m, t in zip(found.matches, taps, strict=True)])):
        msg = "its hidden states have the sequence before the batch"
        raise UncutError(msg)


def _label(site: Site) -> str:
    """Sites of one label may share a piece."""
    return site.kind.value if site.kind is SiteKind.LM_HEAD else str(site.block)
