"""What a probe gives out beside a model's own outputs: how its main output agrees with a reference, and which shares sites drop."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.models.main_output import Loss, MainOutput
from scap_ov.models.tensors import as_f32
from scap_ov.passes.openvino.time_axis import batch_first, time_first

REFERENCE = "scap_ov.reference"
LEAST = np.float32(-1e30)  # of log-probabilities
TINY = np.float32(1e-30)  # of norms


def built(values: list[ov.Output], sinks: list[ov.Node], parameters: list[ov.Node]) -> ov.Model:
    """A model that gives these values out in f32, batch first."""
    model = ov.Model(values, sinks, parameters, "scap_ov_probe")
    turned = time_first(model, values)
    values = [as_f32(batch_first(value) if turn else value) for value, turn in zip(values, turned, strict=True)]
    return ov.Model(values, sinks, parameters, "scap_ov_probe")


def flat(model: ov.Model, main: MainOutput) -> ov.Output:
    """The main output in f32 with its rows flattened, batch first, [R, V]."""
    values = [model.outputs[place].get_node().input_value(0) for place in main.places]
    turned = time_first(model, values)
    values = [batch_first(value) if turn else value for value, turn in zip(values, turned, strict=True)]
    flat = [ops.reshape(as_f32(value), np.array([-1, main.width]), special_zero=False).output(0) for value in values]
    return flat[0] if len(flat) == 1 else ops.concat(flat, 0).output(0)


def agreement_of(flat: ov.Output, main: MainOutput) -> tuple[list[ov.Output], ov.Node]:
    """How each row agrees with the reference, and what becomes the reference; the reference's parameter.

    :param flat: f32 [R, V].
    """
    reference = _parameter([-1, main.width], REFERENCE)
    axis = np.array([1])
    if main.loss is Loss.DIVERGENCE:  # a logit of -inf, of a token that is ruled out, has the probability 0, and 0 times it is 0
        log_q = ops.maximum(ops.log_softmax(flat, 1), ops.constant(LEAST))
        return [ops.reduce_sum(ops.multiply(reference, log_q), axis).output(0), log_q.output(0)], reference
    if main.loss is Loss.SQUARES:
        return [ops.reduce_sum(ops.squared_difference(flat, reference), axis).output(0), flat], reference
    norms = ops.multiply(ops.reduce_l2(flat, axis), ops.reduce_l2(reference, axis))
    cosine = ops.divide(ops.reduce_sum(ops.multiply(flat, reference), axis), ops.maximum(norms, ops.constant(TINY)))
    return [cosine.output(0), flat], reference


def share(select: ov.Node, *, kept: bool) -> ov.Output:
    """Share of the entries of each row that a Select takes from its first input, or from its second, float32 [...]."""
    condition = select.input_value(0)
    chosen = ops.convert(condition if kept else ops.logical_not(condition), np.float32)
    return ops.reduce_mean(chosen, np.array([-1]), keep_dims=False).output(0)


def _parameter(shape: list[int], name: str) -> ov.Node:
    parameter = ops.parameter(ov.PartialShape(shape), np.float32, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter
