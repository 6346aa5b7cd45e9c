"""A probe whose gradients come with every run: of the compensation, of the centres, of the pruned inputs. Uses: gradient.

The loss is the cross-entropy of the model's distribution against the reference's rows, summed over rows; with the dense
model's probabilities its gradient is that of KL(dense ‖ pruned), with one-hot rows that of the log-likelihood of those tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.calibration.gradient import gradients
from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.errors import BadModelError
from scap_ov.passes.openvino.runtime_inputs import CENTERS, COMPENSATION


class GradientModel(ProbeModel):
    """One compiled copy of a language model with its derivative.

    :param inputs: give out the gradient of every site's pruned input, and the input itself.
    :param constants: give out the gradients of compensation [ΣN] and centres [ΣK].
    :raises BadModelError: the model has no logits, or an operation without a gradient rule.
    """

    def __init__(self, model: ov.Model, *, inputs: bool = False, constants: bool = False) -> None:
        self._inputs_wanted, self._constants = inputs, constants
        super().__init__(model, observe=inputs)

    def _derived(self, model: ov.Model, logits: ov.Output, reference: ov.Output) -> dict[Any, ov.Output]:
        if not self.language:
            msg = "the model has no output 'logits', so there is no divergence to differentiate; calibrate without gradients"
            raise BadModelError(msg)
        wanted: dict[Any, ov.Output] = {}
        if self._inputs_wanted:
            wanted |= {("input", name): node.output(0) for name, node in self._pruned(model).items()}
        if self._constants:
            named = {name: p.output(0) for p in model.get_parameters() for name in p.output(0).get_names()}
            wanted |= {COMPENSATION: named[COMPENSATION], CENTERS: named[CENTERS]}
        found = gradients(model.get_ordered_ops(), [(logits, _seed(logits, reference))], list(wanted.values()))
        return {("gradient", key): value for key, value in zip(wanted, found, strict=True)}

    def gradient(self, key: Any) -> np.ndarray:
        """A gradient of the last run; valid until the next run.

        :param key: name of a site for that of its pruned input [..., K]; COMPENSATION or CENTERS for those.
        """
        return self.output(("gradient", key if key in (COMPENSATION, CENTERS) else ("input", key)))


def _seed(logits: ov.Output, reference: ov.Output) -> ov.Output:
    """q·Σp − p, in the shape of the logits: a row whose reference is zero does not count."""
    size = logits.get_partial_shape()[-1].get_length()
    flat = ops.reshape(logits, np.array([-1, size]), special_zero=False)
    mass = ops.reduce_sum(reference, np.array([1]), keep_dims=True)
    difference = ops.subtract(ops.multiply(ops.softmax(flat, 1), mass), reference)
    return ops.reshape(difference, ops.shape_of(logits), special_zero=False).output(0)
