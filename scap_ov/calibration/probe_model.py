"""A model whose thresholds, centres and compensation are run-time inputs: compiled once, pruned in any way, compared with itself dense.

Every row but the first of a sequence is pruned, as with `rows="all"`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.calibration.probe_outputs import REFERENCE, agreement_of, built, flat, share
from scap_ov.calibration.samples import counted
from scap_ov.calibration.site_taps import site_taps
from scap_ov.calibration.states import forget_states
from scap_ov.config import SparsityConfig
from scap_ov.fitting.thresholds import NOTHING
from scap_ov.gradients.attention_gradient import repeat_heads
from scap_ov.models.main_output import Loss, main_output
from scap_ov.models.opened import OpenedModel, opened_model
from scap_ov.models.runner import EXACT
from scap_ov.models.tensors import before_narrowing, fed, output_of
from scap_ov.passes.openvino.expert_rows import chosen_rows
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.portable_pattern import PREFIX
from scap_ov.passes.openvino.runtime_inputs import RuntimeInputs
from scap_ov.passes.rules.places import CENTERS, COMPENSATION, THRESHOLDS, WHOLE
from scap_ov.plan import SparsityPlan
from scap_ov.progress import Progress
from scap_ov.sites import SiteKind

if TYPE_CHECKING:
    from scap_ov.calibration.samples import Piece
    from scap_ov.plan import SitePlan

Key: TypeAlias = "str | tuple[str, Key]"  # of a further output: a site's name, or what is told of it and the name


@dataclass
class Settings:
    """What the run-time inputs are set to; start from `ProbeModel.dense()`.

    :param thresholds: float32 [ΣK], negative where nothing is dropped.
    :param centers: float32 [ΣK].
    :param compensation: float32 [ΣN], added to the outputs of pruned rows.
    :param whole: float32 [ΣK], up to which a channel is read by half; negative where nothing is.
    """

    thresholds: np.ndarray
    centers: np.ndarray
    compensation: np.ndarray
    whole: np.ndarray

    def copy(self) -> Settings:
        """Independent arrays."""
        return Settings(self.thresholds.copy(), self.centers.copy(), self.compensation.copy(), self.whole.copy())


@dataclass(frozen=True)
class Reference:
    """What the dense model gave for a sample.

    :param values: probabilities of a language model, else the output itself, float32 [R, V].
    :param offset: what the loss of each row starts from, float64 [R]: Σ p log p of a language model, 1 of a cosine, 0 of squares.
    :param factor: what the agreement with the reference, or the squared difference from it, adds to that.
    """

    values: np.ndarray
    offset: np.ndarray
    factor: float = -1.0


class ProbeModel:
    """One compiled copy of a model.

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
        self._inputs: RuntimeInputs = insert.inputs
        self._main = main_output(clone.outputs, [s.out_features for s in self.sites if s.kind is SiteKind.LM_HEAD]) if compare else None
        self.language = self._main is not None and self._main.loss is Loss.DIVERGENCE
        results: list[ov.Output] = []
        parameters = clone.get_parameters()
        if self._main is not None:
            main = flat(clone, self._main)
            results, reference = agreement_of(main, self._main)
            parameters = [*parameters, reference]
            taps |= self._derived(
                clone, before_narrowing(clone.outputs[self._main.places[0]].get_node().input_value(0)), reference.output(0)
            )
        if measure:
            taps |= {("share", name): self.of_tokens(name, share(node, kept=False)) for name, node in self._pruned(clone).items()}
            taps |= {("half", name): share(node, kept=True) for name, node in self._by_half(clone).items()}
        self._taps = {name: i for i, name in enumerate(taps)}
        sinks = forget_states(clone)
        graph = built([*results, *taps.values()], sinks, parameters)
        self._first_tap = len(results)
        self.compiled = ov.Core().compile_model(graph, "CPU", EXACT)
        self._request = self.compiled.create_infer_request()
        self._ports = self.compiled.inputs
        self._stateful = bool(sinks)
        self.forwards = 0

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

    def dense(self) -> Settings:
        """Settings that drop nothing."""
        ins, outs = sum(s.in_features for s in self.sites), sum(s.out_features for s in self.sites)
        return Settings(np.full(ins, NOTHING), np.zeros(ins, np.float32), np.zeros(outs, np.float32), np.full(ins, NOTHING))

    def put(self, settings: Settings, entry: SitePlan) -> None:
        """Set one site as a plan's entry has it.

        :raises RuntimeError: the entry reads channels by half, and the probe was built without.
        """
        own = self.channels(entry.site)
        if entry.whole_threshold is not None:
            if not self.graded:
                msg = f"site {entry.site} is to be read by half, and the probe was not built for that"
                raise RuntimeError(msg)
            settings.whole[own] = entry.whole_threshold
        settings.thresholds[own], settings.centers[own] = entry.threshold, entry.center
        if entry.compensation is not None:
            self.compensation(settings, entry.site)[:] = entry.compensation

    def settings(self, entries: Iterable[SitePlan]) -> Settings:
        """Settings of a whole plan."""
        made = self.dense()
        for entry in entries:
            self.put(made, entry)
        return made

    def channels(self, name: str) -> slice:
        """Where thresholds and centres of a site lie in the settings."""
        return slice(*self._inputs.channel_range[name])

    def compensation(self, settings: Settings, name: str) -> np.ndarray:
        """The part of the compensation that belongs to a site, float32 [N]; a view."""
        return settings.compensation[slice(*self._inputs.compensation_range[name])]

    def run(self, inputs: Mapping[str, np.ndarray], settings: Settings, reference: Reference | None = None) -> None:
        """One forward pass on a fresh sequence. Position 0 of a sequence is computed dense."""
        if self._stateful:
            self._request.reset_state()
        values = {**inputs, THRESHOLDS: settings.thresholds, CENTERS: settings.centers, COMPENSATION: settings.compensation}
        if self.graded:
            values[WHOLE] = settings.whole
        if self._main is not None:
            values[REFERENCE] = np.zeros((1, self._main.width), np.float32) if reference is None else reference.values
        self._request.infer(fed(values, self._ports), share_inputs=True)
        self.forwards += 1

    def inputs_of(
        self,
        windows: Sequence[Piece],
        entries: Mapping[str, SitePlan],
        seen: Callable[[int, dict[str, np.ndarray]], None],
        progress: Progress | None = None,
    ) -> None:
        """Run windows with these sites pruned, and give out the inputs of all sites, before they are pruned.

        :param seen: called with a window's index and the inputs by site name.
        :param progress: called with (windows done, windows).
        """
        settings = self.settings(entries.values())
        for index, window in enumerate(windows):
            self.run(window.inputs, settings)
            seen(index, self.tapped())
            if progress:
                progress(index + 1, len(windows))

    def reference_of(self, inputs: Mapping[str, np.ndarray]) -> Reference:
        """What the dense model gives for these inputs."""
        self.run(inputs, self.dense())
        return self._reference(np.array(output_of(self._request, 1)))

    def _reference(self, value: np.ndarray) -> Reference:
        """What later runs are compared with.

        :param value: log-probabilities of a language model, else the output itself, float32 [R, V].
        """
        loss = Loss.COSINE if self._main is None else self._main.loss
        if loss is Loss.DIVERGENCE:
            probability = np.exp(value)
            return Reference(probability, np.einsum("rv,rv->r", probability, value, dtype=np.float64))
        if loss is Loss.COSINE:
            return Reference(value, np.asarray(value.any(axis=1), np.float64))  # rows of zeros have no direction to lose
        size = float(np.square(value, dtype=np.float64).mean())
        return Reference(value, np.zeros(len(value)), 1 / size if size > 0 else 1.0)

    def loss(self, inputs: Mapping[str, np.ndarray], settings: Settings, pruned: np.ndarray, reference: Reference) -> float:
        """Mean over the rows that were pruned of KL(dense ‖ pruned) in nats; of what main_output says for a model without logits."""
        self.run(inputs, settings, reference)
        rows = reference.offset + reference.factor * output_of(self._request, 0)
        return float(rows[counted(pruned, len(rows))].mean())

    def log_probabilities(self) -> np.ndarray:
        """Of the last run of a language model that was built with `compare`, float32 [R, V]; valid until the next run."""
        return output_of(self._request, 1)

    def tapped(self) -> dict[str, np.ndarray]:
        """The inputs of the sites in the last run, by `site_taps`' names; valid until the next run."""
        return {name: self.output(name) for name in self._taps if isinstance(name, str)}

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
            row = self.output((what, site.name)).reshape(-1) if (what, site.name) in self._taps else np.zeros(len(pruned), np.float32)
            found.append(row[pruned] if len(row) == len(pruned) else np.full(int(pruned.sum()), row.mean()))
        return np.stack(found)

    def output(self, key: Key) -> np.ndarray:
        """One further output of the last run; valid until the next run."""
        return output_of(self._request, self._first_tap + self._taps[key])
