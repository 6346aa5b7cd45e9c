"""Which output of a model tells whether pruning did harm, and how two values of it are compared: told from types and shapes, then names."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from scap_ov.errors import BadModelError
from scap_ov.models.tensors import Port, port_name
from scap_ov.passes.rules.tensors import unconverted

_CACHE = re.compile(r"present|past|cache|\bkeys?\b|\bvalues?\b|(?:^|[._])(?:key|value)[._]?\d")


class Loss(Enum):
    """How far two values of the main output are apart, per row."""

    DIVERGENCE = "KL divergence of two distributions over the last axis, in nats"
    COSINE = "1 - cosine of two vectors along the last axis"
    SQUARES = "squared difference of two numbers, over the mean square of the reference"


@dataclass(frozen=True)
class MainOutput:
    """What is compared.

    :param places: of the model's outputs. Several where each row is one number, as the start and the end of an answer are.
    :param width: numbers of a row; 1 with SQUARES.
    """

    places: tuple[int, ...]
    loss: Loss
    width: int


def main_output(outputs: Sequence[Port], vocabularies: Collection[int] = ()) -> MainOutput:
    """Choose among the outputs of floating point numbers that depend on an input, caches last.

    1. An output whose name is `logits`, or whose width is that of the output projection, is compared as a distribution; `logits` of one
       column are a score.
    2. Else the first of a known width above 1 is compared as vectors, outputs of two and three dimensions before images and caches.
    3. Where there is none of a known width, all outputs are compared number by number.
    4. Constants, what is made of shapes alone, and inputs that are given back as they are change with no pruning: they are passed over.

    :param outputs: of an ov.Model or OnnxModel.
    :param vocabularies: widths of the model's output projections.
    :raises BadModelError: no output is of floating point numbers, or none of these depends on an input.
    """
    real = [i for i, port in enumerate(outputs) if port.get_element_type().is_real()]
    if not real:
        told = ", ".join(f"{port_name(p)} {p.get_element_type().get_type_name()}" for p in outputs)
        msg = f"no output of the model is of floating point numbers ({told}), so there is nothing to compare; add one, such as the logits"
        raise BadModelError(msg)
    names = {i: port_name(outputs[i]) for i in real}
    caches = {i for i in real if _CACHE.search(names[i].lower())}
    ranked = ([i for i in real if i not in caches], sorted(caches))
    kept = next((computed for some in ranked if (computed := [i for i in some if _is_computed(outputs[i])])), None)
    if kept is None:
        told = ", ".join(names.values())
        msg = f"no output of floating point numbers depends on an input ({told}), so pruning changes none; add one, such as the logits"
        raise BadModelError(msg)
    widths = {i: _width(outputs[i]) for i in kept}
    wide = [i for i in kept if widths[i] > 1]
    called = [i for i in wide if "logits" in outputs[i].get_names()] or [i for i in wide if "logits" in names[i].lower()]
    distributions = called or [i for i in wide if widths[i] in vocabularies]
    if distributions:
        return MainOutput((distributions[0],), Loss.DIVERGENCE, widths[distributions[0]])
    scores = [i for i in kept if widths[i] == 1 and "logits" in outputs[i].get_names()]
    if wide and not scores:
        first = min(wide, key=lambda i: (len(outputs[i].get_partial_shape()) > 3, i))
        return MainOutput((first,), Loss.COSINE, widths[first])
    return MainOutput(tuple(scores or kept), Loss.SQUARES, 1)


def _is_computed(port: Port) -> bool:
    """Whether an output depends on the values of an input, or of a state, and is not the input itself. Rule 4."""
    node, seen = port.get_node(), set()
    pending = [unconverted(node.input_value(0) if node.get_type_name() == "Result" else port).get_node()]
    if pending[0].get_type_name() == "Parameter":
        return False
    while pending:
        node = pending.pop()
        kind = node.get_type_name()
        if kind in ("Parameter", "ReadValue"):
            return True
        if node.get_instance_id() not in seen and kind not in ("Constant", "ShapeOf"):
            seen.add(node.get_instance_id())
            pending += [value.get_node() for value in reversed(node.input_values())]  # activations come first, weights after them
    return False


def _width(port: Port) -> int:
    """Length of the last axis of an output of two dimensions and more; 1 where it is not known."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) < 2 or shape[-1].is_dynamic:
        return 1
    return int(shape[-1].get_length())
