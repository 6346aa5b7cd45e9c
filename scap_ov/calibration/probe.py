"""What measures a model under pruning: its thresholds, centres and compensation are run-time inputs, so any plan can be tried.

Every row but the first of a sequence is pruned, as with `rows="all"`. In OpenVINO: probe_model; in onnxruntime: probe_onnx.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scap_ov.fitting.thresholds import NOTHING
from scap_ov.models.main_output import Loss, MainOutput
from scap_ov.models.tensors import HasInputs
from scap_ov.passes.rules.places import ParameterLayout
from scap_ov.progress import Progress

if TYPE_CHECKING:
    from scap_ov.calibration.samples import CalibrationWindow
    from scap_ov.plan import SitePlan
    from scap_ov.sites import Site


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


class Probe(ABC):
    """A stock model with run-time inputs in front of its sites, ready to run.

    :ivar stock: the model without the run-time inputs: what samples are for.
    :ivar sites: those of the model, in the order of the settings.
    :ivar graded: whether plans may read channels by half.
    :ivar forwards: how often it ran.
    """

    stock: HasInputs
    sites: tuple[Site, ...]
    graded: bool
    forwards = 0
    _inputs: ParameterLayout
    _main: MainOutput | None

    @property
    def language(self) -> bool:
        """Whether the loss is a divergence of distributions over tokens."""
        return self._main is not None and self._main.loss is Loss.DIVERGENCE

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray], settings: Settings, reference: Reference | None = None) -> None:
        """One forward pass on a fresh sequence. Position 0 of a sequence is computed dense."""

    @abstractmethod
    def reference_of(self, inputs: Mapping[str, np.ndarray]) -> Reference:
        """What the dense model gives for these inputs."""

    @abstractmethod
    def loss(self, inputs: Mapping[str, np.ndarray], settings: Settings, pruned: np.ndarray, reference: Reference) -> float:
        """Mean over the rows that were pruned of KL(dense ‖ pruned) in nats; of what main_output says for a model without logits."""

    @abstractmethod
    def log_probabilities(self) -> np.ndarray:
        """Of the last run of a language model that was built with `compare`, float32 [R, V]; valid until the next run."""

    @abstractmethod
    def tapped(self) -> dict[str, np.ndarray]:
        """The inputs of the sites in the last run, by `site_taps`' names; valid until the next run."""

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

    def inputs_of(
        self,
        windows: Sequence[CalibrationWindow],
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
