"""ProbeModel on onnxruntime: one session whose thresholds, centres and compensation are inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scap_ov.calibration.probe_model import ProbeModel, Reference, Settings
from scap_ov.calibration.run_onnx import tapped_values
from scap_ov.config import SparsityConfig
from scap_ov.errors import BadModelError
from scap_ov.models.agreement import log_softmax
from scap_ov.models.onnx_model import OnnxModel
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.passes.onnx.find_sites import find_sites, fingerprint
from scap_ov.passes.onnx.insert_sparsity import InsertSparsity
from scap_ov.passes.rules.places import CENTERS, COMPENSATION, THRESHOLDS
from scap_ov.plan import SparsityPlan


class OnnxProbe(ProbeModel):
    """As ProbeModel; the comparison with the reference is made in numpy.

    :param model: stock model; it is cloned.
    :param compare: give the main output out.
    :param observe: give the inputs of the sites out.
    :raises BadModelError: the model has no site.
    """

    def __init__(
        self, model: OnnxModel, *, compare: bool = True, observe: bool = False, ramp: float = 0.0
    ) -> None:  # super().__init__ would compile an ov.Model
        self.stock: Any = model
        clone = model.clone()
        found = find_sites(clone.graph_model, lm_head=True)
        if not found.matches:
            msg = "the model has no fully connected layer that could be pruned; give a Transformer exported by optimum-cli export onnx"
            raise BadModelError(msg)
        self.sites = tuple(match.site for match in found.matches)
        self._tapped_names = {name: value.name for name, value in tapped_values(found).items()} if observe else {}
        plan = SparsityPlan(SparsityConfig(ramp=ramp), fingerprint(clone.graph_model), self.sites, {})
        insert = InsertSparsity(plan, runtime_inputs=True)
        insert(clone.graph_model)
        if insert.inputs is None:
            msg = "InsertSparsity(runtime_inputs=True) made no inputs"
            raise RuntimeError(msg)
        self._inputs: Any = insert.inputs
        main = next((port for port in model.outputs if port.get_any_name() == "logits"), model.outputs[0])
        self._main = main.get_any_name()
        self.language = self._main == "logits"
        wanted = [self._main] * compare + list(self._tapped_names.values())
        values = {value.name: value for node in clone.graph_model.graph for value in node.outputs}
        values |= {value.name: value for value in clone.graph_model.graph.inputs}
        self._session = OnnxSession(clone, [values[name] for name in wanted])
        self._given: dict[str, np.ndarray] = {}
        self.forwards = 0

    def run(self, inputs: Mapping[str, np.ndarray], settings: Settings, reference: Reference | None = None) -> None:
        """One forward pass; position 0 of a sequence is computed dense."""
        del reference
        extra = {THRESHOLDS: settings.thresholds, CENTERS: settings.centers, COMPENSATION: settings.compensation}
        self._given = self._session.run({**inputs, **extra})
        self.forwards += 1

    def reference_of(self, inputs: Mapping[str, np.ndarray]) -> Reference:
        """What the dense model gives for these inputs."""
        self.run(inputs, self.dense())
        value = self._rows()
        if not self.language:
            return Reference(value, np.ones(len(value)))
        log_p = log_softmax(value)
        probability = np.exp(log_p)
        return Reference(probability, np.einsum("rv,rv->r", probability, log_p, dtype=np.float64))

    def loss(self, inputs: Mapping[str, np.ndarray], settings: Settings, pruned: np.ndarray, reference: Reference) -> float:
        """Mean over the rows that were pruned of KL(dense ‖ pruned) in nats; of (1 − cosine) for a model without logits."""
        self.run(inputs, settings)
        value = self._rows()
        if self.language:
            agreement = np.einsum("rv,rv->r", reference.values, log_softmax(value), dtype=np.float64)
        else:
            norms = np.linalg.norm(value, axis=1) * np.linalg.norm(reference.values, axis=1)
            agreement = np.einsum("rv,rv->r", reference.values, value, dtype=np.float64) / norms
        rows = reference.offset - agreement
        return float((rows[pruned] if len(rows) == len(pruned) else rows).mean())

    def tapped(self) -> dict[str, np.ndarray]:
        """The inputs of the sites in the last run, by `site_taps`' names."""
        return {name: self._given[value] for name, value in self._tapped_names.items()}

    def _rows(self) -> np.ndarray:
        value = self._given[self._main]
        return value.reshape(-1, value.shape[-1]).astype(np.float32)
