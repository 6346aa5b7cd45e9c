"""A probe whose gradients come with every run: of compensation, centres and thresholds, of the pruned inputs.

The loss is the cross-entropy of the model's distribution against the reference's rows, summed over rows; with the dense
model's probabilities its gradient is that of KL(dense ‖ pruned), with one-hot rows that of the log-likelihood of those tokens.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.calibration.probe_model import Key, ProbeModel
from scap_ov.errors import BadModelError
from scap_ov.gradients.gradient import gradients
from scap_ov.gradients.pruning_gradient import dropped_rows, half_rows, threshold_gradient, whole_threshold_gradient
from scap_ov.models.opened import OpenedModel
from scap_ov.passes.rules.places import CENTERS, COMPENSATION


class GradientModel(ProbeModel):
    """One compiled copy of a language model with its derivative.

    :param inputs: give out the gradient of every site's pruned input, and the input itself.
    :param constants: give out the gradients of compensation [ΣN] and centres [ΣK].
    :param thresholds: give out those of the logarithms of the thresholds, and how many entries each leaves unread (see pruning_gradient).
    :param graded: as of ProbeModel; both thresholds of a site move together.
    :raises BadModelError: the model has no logits, or an operation without a gradient rule.
    """

    def __init__(
        self,
        model: ov.Model | OpenedModel,
        *,
        inputs: bool = False,
        constants: bool = False,
        thresholds: bool = False,
        graded: bool = False,
    ) -> None:
        self._inputs_wanted, self._constants, self._thresholds = inputs, constants, thresholds
        super().__init__(model, observe=inputs, graded=graded)

    def _derived(self, model: ov.Model, logits: ov.Output, reference: ov.Output) -> dict[Key, ov.Output]:
        if not self.language:
            msg = "the model has no output 'logits', so there is no divergence to differentiate; calibrate without gradients"
            raise BadModelError(msg)
        wanted: dict[Key, ov.Output] = {}
        sites = self._pruned(model)
        narrow = {value.get_element_type().get_type_name() for value in (logits, *(node.output(0) for node in sites.values()))} - {"f32"}
        if narrow:
            msg = f"the model computes in {', '.join(sorted(narrow))}, and gradients are taken in f32; calibrate without gradients"
            raise BadModelError(msg)
        if self._inputs_wanted or self._thresholds:
            wanted |= {("input", name): node.output(0) for name, node in sites.items()}
        halves = self._by_half(model) if self._thresholds else {}
        wanted |= {("half", name): node.output(0) for name, node in halves.items()}
        if self._constants:
            named = {name: p.output(0) for p in model.get_parameters() for name in p.output(0).get_names()}
            wanted |= {COMPENSATION: named[COMPENSATION], CENTERS: named[CENTERS]}
        seeds = [(logits, _seed(logits, reference))]
        values = gradients(model.get_ordered_ops(), seeds, list(wanted.values()), pruning=sites.values())
        found = {("gradient", key): value for key, value in zip(wanted, values, strict=True)}
        moved: dict[Key, ov.Output] = {}
        for name, node in sites.items() if self._thresholds else ():
            gradient = found["gradient", ("input", name)]
            if name in halves:
                moved |= _of_both(name, node, halves[name], gradient, found["gradient", ("half", name)])
            else:
                slope, density = threshold_gradient(node, gradient)
                moved |= {("slope", name): slope, ("density", name): density, ("unread", name): dropped_rows(node)}
        inputs = {key: value for key, value in found.items() if key[1][0] == "input"}
        found |= {key: self.of_tokens(str(key[1][1]), value) for key, value in inputs.items()}
        if not self._inputs_wanted:
            found = {key: value for key, value in found.items() if key[1] in (COMPENSATION, CENTERS)}
        return found | moved

    def gradient(self, key: Key) -> np.ndarray:
        """A gradient of the last run; valid until the next run.

        :param key: name of a site for that of its pruned input [..., K]; COMPENSATION or CENTERS for those.
        """
        return self.output(("gradient", key if key in (COMPENSATION, CENTERS) else ("input", key)))

    def moved(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the thresholds of a site do in the last run, summed over rows; valid until the next run.

        :return: dL/d log τ, d(entries not read)/d log τ and entries not read, float32 [K] each; one that is read by half counts half.
        """
        slope, density, unread = (self.output((what, name)) for what in ("slope", "density", "unread"))
        return slope, density, unread


def _of_both(name: str, pruned: ov.Node, half: ov.Node, into_input: ov.Output, into_half: ov.Output) -> dict[Key, ov.Output]:
    """What both thresholds of a site do when their logarithms move together: half of a channel's bytes lies at each."""
    low_slope, low_density = threshold_gradient(pruned, ops.add(into_input, into_half).output(0))
    high_slope, high_density = whole_threshold_gradient(half, into_half)
    halved = ops.constant(np.float32(0.5))
    return {
        ("slope", name): ops.add(low_slope, high_slope).output(0),
        ("density", name): ops.multiply(ops.add(low_density, high_density), halved).output(0),
        ("unread", name): ops.add(dropped_rows(pruned), ops.multiply(half_rows(half), halved)).output(0),
    }


def _seed(logits: ov.Output, reference: ov.Output) -> ov.Output:
    """q·Σp − p, in the shape of the logits: a row whose reference is zero does not count."""
    size = logits.get_partial_shape()[-1].get_length()
    flat = ops.reshape(logits, np.array([-1, size]), special_zero=False)
    mass = ops.reduce_sum(reference, np.array([1]), keep_dims=True)
    difference = ops.subtract(ops.multiply(ops.softmax(flat, 1), mass), reference)
    return ops.reshape(difference, ops.shape_of(logits), special_zero=False).output(0)
