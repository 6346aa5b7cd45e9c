"""A model whose thresholds, centres and compensation are run-time inputs: compiled once, pruned in any way, compared with itself dense.

Every row but the first of a sequence is pruned, as with `rows="all"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.calibration.probe import Probe, Reference, Settings
from scap_ov.calibration.probe_outputs import REFERENCE, agreement_of, built, flat, share
from scap_ov.calibration.samples import counted
from scap_ov.calibration.site_taps import site_taps
from scap_ov.calibration.states import forget_states
from scap_ov.config import SparsityConfig
from scap_ov.gradients.attention_gradient import repeat_heads
from scap_ov.models.main_output import main_output
from scap_ov.models.opened import OpenedModel, opened_model
from scap_ov.models.openvino_session import OpenVINOSession
from scap_ov.models.runner import EXACT
from scap_ov.models.tensors import before_narrowing
from scap_ov.passes.openvino.expert_rows import chosen_rows
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.portable_pattern import PREFIX
from scap_ov.passes.rules.places import CENTERS, COMPENSATION, THRESHOLDS, WHOLE
from scap_ov.plan import SparsityPlan
from scap_ov.sites import SiteKind

Key: TypeAlias = "str | tuple[str, Key]"  # of a further output: a site's name, or what is told of it and the name
_AGREEMENT: Key = ("output", "agreement")
_MAIN: Key = ("output", "main")


class ProbeModel(Probe):
    """A probe that runs in OpenVINO: one compiled copy of a model.

    :param model: stock model; it is cloned.
    :param compare: add the loss against a reference output as an output.
    :param observe: give the inputs of the sites out.
    :param measure: give out which share of its input each site drops, row by row.
    :param ramp: that of the plans which are tried.
    :param graded: make plans possible that read channels by half; takes more memory and time where weights are of 8 bits.
    :raises BadModelError: the model has no site.
    """

    def __init__(
        self,
        model: ov.Model | OpenedModel,
        *,
        compare: bool = True,
        observe: bool = False,
        measure: bool = False,
        ramp: float = 0.0,
        graded: bool = False,
    ) -> None:
        opened = opened_model(model)
        self.stock = opened.model  # what the samples are for: without the run-time inputs
        clone, found = opened.copy_in_f32()
        matches = found.some()
        self.sites = tuple(match.site for match in matches)
        self._blocks = {m.site.name: m.block for m in matches if m.block is not None and m.site.kind is SiteKind.EXPERT_DOWN}
        repeat_heads(clone)
        taps: dict[Key, ov.Output] = {}
        if observe:
            taps.update(site_taps(found).items())
        self.graded = graded and any(site.two_planes for site in self.sites)
        plan = SparsityPlan(SparsityConfig(ramp=ramp), opened.fingerprint, self.sites, {})
        insert = InsertSparsity(plan, found=found, runtime_inputs=True, graded=graded)
        insert(clone)
        if insert.inputs is None:
            msg = "InsertSparsity(runtime_inputs=True) made no inputs"
            raise RuntimeError(msg)
        self._inputs = insert.inputs
        self._main = main_output(clone.outputs, [s.out_features for s in self.sites if s.kind is SiteKind.LM_HEAD]) if compare else None
        outputs: dict[Key, ov.Output] = {}
        parameters = clone.get_parameters()
        if self._main is not None:
            main = flat(clone, self._main)
            (outputs[_AGREEMENT], outputs[_MAIN]), reference = agreement_of(main, self._main)
            parameters = [*parameters, reference]
            taps |= self._derived(
                clone, before_narrowing(clone.outputs[self._main.places[0]].get_node().input_value(0)), reference.output(0)
            )
        if measure:
            taps |= {("share", name): self.of_tokens(name, share(node, kept=False)) for name, node in self._pruned(clone).items()}
            taps |= {("half", name): self.of_tokens(name, share(node, kept=True)) for name, node in self._by_half(clone).items()}
        outputs |= taps
        graph = built([*outputs.values()], forget_states(clone), parameters)
        self._session = OpenVINOSession(graph, outputs, EXACT)
        self._given: dict[Key, np.ndarray] = {}

    def _derived(self, model: ov.Model, logits: ov.Output, reference: ov.Output) -> dict[Key, ov.Output]:
        """Further outputs of a subclass, by any key but a site's name."""
        del model, logits, reference
        return {}

    def of_tokens(self, name: str, value: ov.Output) -> ov.Output:
        """A tensor [E, T, ...] inside of routed experts for those that tokens use, [T, k, ...], shares averaged; others as they are."""
        if name not in self._blocks:
            return value
        chosen = chosen_rows(self._blocks[name], value)
        return chosen if len(chosen.get_partial_shape()) > 2 else ops.reduce_mean(chosen, np.array([1]), keep_dims=False).output(0)

    def _pruned(self, model: ov.Model) -> dict[str, ov.Node]:
        """The Select of every site, which gives its pruned input."""
        nodes = {node.get_friendly_name(): node for node in model.get_ops() if node.get_type_name() == "Select"}
        return {site.name: nodes[PREFIX + site.name] for site in self.sites}

    def _by_half(self, model: ov.Model) -> dict[str, ov.Node]:
        """The Select of every site that can be read by half, which gives what is."""
        nodes = {node.get_friendly_name(): node for node in model.get_ops() if node.get_type_name() == "Select"}
        names = {site.name: f"{PREFIX}{site.name}.half" for site in self.sites}
        return {site: nodes[name] for site, name in names.items() if name in nodes}

    def run(self, inputs: Mapping[str, np.ndarray], settings: Settings, reference: Reference | None = None) -> None:
        """One forward pass on a fresh sequence. Position 0 of a sequence is computed dense."""
        self._session.start()
        values = {**inputs, THRESHOLDS: settings.thresholds, CENTERS: settings.centers, COMPENSATION: settings.compensation}
        if self.graded:
            values[WHOLE] = settings.whole
        if self._main is not None:
            values[REFERENCE] = np.zeros((1, self._main.width), np.float32) if reference is None else reference.values
        self._given = self._session.run(values, share=True)
        self.forwards += 1

    def reference_of(self, inputs: Mapping[str, np.ndarray]) -> Reference:
        """What the dense model gives for these inputs."""
        self.run(inputs, self.dense())
        return self._reference(self._given[_MAIN].copy())

    def loss(self, inputs: Mapping[str, np.ndarray], settings: Settings, pruned: np.ndarray, reference: Reference) -> float:
        """Mean over the rows that were pruned of KL(dense ‖ pruned) in nats; of what main_output says for a model without logits."""
        self.run(inputs, settings, reference)
        rows = reference.offset + reference.factor * self._given[_AGREEMENT]
        return float(rows[counted(pruned, len(rows))].mean())

    def log_probabilities(self) -> np.ndarray:
        """Of the last run of a language model that was built with `compare`, float32 [R, V]; valid until the next run."""
        return self._given[_MAIN]

    def tapped(self) -> dict[str, np.ndarray]:
        """The inputs of the sites in the last run, by `site_taps`' names; valid until the next run."""
        return {name: value for name, value in self._given.items() if isinstance(name, str)}

    def shares(self, pruned: np.ndarray) -> np.ndarray:
        """Which share of its weight bytes each site left unread in the last run, float32 [S, R]: sites in order, rows of `pruned` [M].

        A model that was not built with `measure` has none.
        """
        return self._by_row("share", pruned) + self.half_shares(pruned) / 2

    def half_shares(self, pruned: np.ndarray) -> np.ndarray:
        """Which share of its input each site read by half, as `shares`."""
        return self._by_row("half", pruned)

    def _by_row(self, what: str, pruned: np.ndarray) -> np.ndarray:
        found = []
        for site in self.sites:
            row = self.output((what, site.name)).reshape(-1) if (what, site.name) in self._given else np.zeros(len(pruned), np.float32)
            found.append(row[pruned] if len(row) == len(pruned) else np.full(int(pruned.sum()), row.mean()))
        return np.stack(found)

    def output(self, key: Key) -> np.ndarray:
        """One further output of the last run; valid until the next run."""
        return self._given[key]
