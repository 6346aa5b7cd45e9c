"""A probe on onnxruntime: one session whose thresholds, centres and compensation are inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scap_ov.calibration.probe import Probe, Reference, Settings
from scap_ov.calibration.probe_outputs import LEAST, TINY
from scap_ov.calibration.run_onnx import tapped_values
from scap_ov.calibration.samples import counted
from scap_ov.config import SparsityConfig
from scap_ov.models.agreement import log_softmax
from scap_ov.models.main_output import Loss, main_output
from scap_ov.models.onnx_model import OnnxModel
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.models.opened_onnx import OpenedOnnx, opened_onnx
from scap_ov.passes.onnx.insert_sparsity import InsertSparsity
from scap_ov.passes.onnx.time_axis import time_first
from scap_ov.passes.rules.places import CENTERS, COMPENSATION, THRESHOLDS, WHOLE
from scap_ov.plan import SparsityPlan
from scap_ov.sites import SiteKind


class OnnxProbe(Probe):
    """As ProbeModel; the comparison with the reference is made in numpy.

    :param model: stock model; it is cloned.
    :param compare: give the main output out.
    :param observe: give the inputs of the sites out.
    :raises BadModelError: the model has no site.
    """

    def __init__(
        self, model: OnnxModel | OpenedOnnx, *, compare: bool = True, observe: bool = False, ramp: float = 0.0, graded: bool = False
    ) -> None:
        opened = opened_onnx(model)
        model = opened.model
        self.stock = model
        clone, found = opened.copy()
        self.sites = tuple(match.site for match in found.some())
        taps = tapped_values(found) if observe else {}
        self._tapped_names = {name: value.name for name, value in taps.items()}
        turned = time_first(clone.graph_model, list(taps.values()))
        self._turned = {name for name, turn in zip(taps, turned, strict=True) if turn}
        plan = SparsityPlan(SparsityConfig(ramp=ramp), opened.fingerprint, self.sites, {})
        self.graded = graded and any(site.two_planes for site in self.sites)
        insert = InsertSparsity(plan, found=found, runtime_inputs=True, graded=graded)
        insert(clone.graph_model)
        if insert.inputs is None:
            msg = "InsertSparsity(runtime_inputs=True) made no inputs"
            raise RuntimeError(msg)
        self._inputs = insert.inputs
        self._main = main_output(model.outputs, [s.out_features for s in self.sites if s.kind is SiteKind.LM_HEAD]) if compare else None
        self._compared = [model.outputs[place].get_any_name() for place in (self._main.places if self._main else ())]
        wanted = [*self._compared, *self._tapped_names.values()]
        values = {value.name: value for node in clone.graph_model.graph for value in node.outputs}
        values |= {value.name: value for value in clone.graph_model.graph.inputs}
        self._session = OnnxSession(clone, [values[name] for name in wanted])
        self._given: dict[str, np.ndarray] = {}

    def run(self, inputs: Mapping[str, np.ndarray], settings: Settings, reference: Reference | None = None) -> None:
        """One forward pass; position 0 of a sequence is computed dense."""
        del reference
        extra = {THRESHOLDS: settings.thresholds, CENTERS: settings.centers, COMPENSATION: settings.compensation}
        if self.graded:
            extra[WHOLE] = settings.whole
        self._given = self._session.run({**inputs, **extra})
        self.forwards += 1

    def reference_of(self, inputs: Mapping[str, np.ndarray]) -> Reference:
        """What the dense model gives for these inputs."""
        self.run(inputs, self.dense())
        return self._reference(self._rows())

    def loss(self, inputs: Mapping[str, np.ndarray], settings: Settings, pruned: np.ndarray, reference: Reference) -> float:
        """Mean over the rows that were pruned of KL(dense ‖ pruned) in nats; of what main_output says for a model without logits."""
        self.run(inputs, settings)
        value = self._rows()
        if self._main is not None and self._main.loss is Loss.SQUARES:
            agreement = np.square(value - reference.values, dtype=np.float64).sum(axis=1)
        else:
            agreement = np.einsum("rv,rv->r", reference.values, value, dtype=np.float64)
            if not self.language:
                agreement /= np.maximum(np.linalg.norm(value, axis=1) * np.linalg.norm(reference.values, axis=1), TINY)
        rows = reference.offset + reference.factor * agreement
        return float(rows[counted(pruned, len(rows))].mean())

    def log_probabilities(self) -> np.ndarray:
        """Of the last run of a language model that was built with `compare`, float32 [R, V]."""
        return self._rows()

    def tapped(self) -> dict[str, np.ndarray]:
        """The inputs of the sites in the last run, by `site_taps`' names."""
        return {name: self._given[value].swapaxes(0, 1) if name in self._turned else self._given[value]
                for name, value in self._tapped_names.items()}  # fmt: skip

    def _rows(self) -> np.ndarray:
        """The main output as ProbeModel has it: log-probabilities, or rows as they are, float32 [R, V]."""
        width = 1 if self._main is None else self._main.width
        rows = np.concatenate([self._given[name].reshape(-1, width) for name in self._compared]).astype(np.float32, copy=False)
        return np.maximum(log_softmax(rows), LEAST) if self.language else rows
