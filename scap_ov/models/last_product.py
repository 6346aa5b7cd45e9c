"""The last product of a language model as a model of its own: logits of some rows at a time, never of a whole window.

A window of 512 tokens over a vocabulary of 152,000 has 311 MB of logits, more than most models of that size have weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.custom_ops import OP_NAME
from scap_ov.errors import BadDatasetError
from scap_ov.models.openvino_session import OpenVINOSession
from scap_ov.models.tensors import as_f32
from scap_ov.passes.openvino import sparse_op

_HIDDEN = "hidden"
_BY_ENTRY = ("Add", "Subtract", "Multiply", "Divide", "Tanh", "Convert")  # what stands between the product and the logits


class Rows(Protocol):
    """Logits [T, V] of a window, computed when rows of them are asked for; a numpy array is one too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """T, V."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Some rows, [n, V], valid until the next rows are asked for."""


class LastProduct:
    """Everything behind the hidden state that the last MatMul reads.

    :param hidden: that tensor, float [B, T, H].
    :param model: from a parameter in its place, f32, to the logits, f32.
    """

    def __init__(self, hidden: ov.Output, model: ov.Model, properties: Mapping[str, object]) -> None:
        self.hidden = hidden
        self._session = OpenVINOSession(model, ["logits"], properties)
        self._width = model.outputs[0].get_partial_shape()[-1].get_length()

    def of(self, hidden: np.ndarray) -> LazyLogits:
        """:param hidden: float32 [T, H]; not copied."""
        return LazyLogits(hidden, self._session, self._width)


class LazyLogits:
    """Logits of one window that are computed when they are asked for; see Rows."""

    def __init__(self, hidden: np.ndarray, session: OpenVINOSession[str], width: int) -> None:
        self._hidden, self._session = hidden, session
        self.shape = (len(hidden), width)

    def __len__(self) -> int:
        """T."""
        return len(self._hidden)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some rows, float32 [n, V], valid until the next rows are asked for.

        :raises BadDatasetError: they hold NaN.
        """
        part = np.ascontiguousarray(self._hidden[rows])
        return finite(self._session.run({_HIDDEN: part[None]})["logits"].reshape(len(part), -1))


def split_off(logits: ov.Output, properties: Mapping[str, object]) -> LastProduct | None:
    """Take the last product off a model.

    :param logits: float [B, T, V]; the nodes behind the hidden state are taken over, so they must not be compiled with the rest any more.
    :param properties: of the CPU plugin.
    :return: None where the logits are not one product with a constant, read by half say, and what is computed entry by entry. A projection
        that goes through our op and is read whole is one; of one that is pruned, rows depend on where the window begins.
    """
    node, path = logits.get_node(), []
    while node.get_type_name() in _BY_ENTRY and all(_constant(v) for v in node.input_values()[1:]):
        path.append(node)
        node = node.input_value(0).get_node()
    if not _is_product(node):
        return None
    hidden, shape = node.input_value(0), node.input_value(0).get_partial_shape()
    known = shape.rank.is_static and len(shape) == 3 and shape[-1].is_static and logits.get_partial_shape()[-1].is_static
    if not known or _constant(hidden):
        return None
    parameter = ops.parameter(ov.PartialShape([1, -1, shape[-1].get_length()]), np.float32)
    parameter.set_friendly_name(_HIDDEN)
    dtype = hidden.get_element_type()
    same = parameter if dtype == ov.Type.f32 else ops.convert(parameter, dtype.get_type_name())
    node.input(0).replace_source_output(same.output(0))
    model = ov.Model([as_f32(logits)], [parameter], "scap_ov_logits")
    model.validate_nodes_and_infer_types()
    return LastProduct(hidden, model, properties)


def finite(logits: np.ndarray) -> np.ndarray:
    """The same logits, float [n, V].

    :raises BadDatasetError: they hold NaN or +inf; -inf rules a token out.
    """
    if not np.isfinite(logits.max(axis=1)).all():
        msg = "the model's logits hold NaN or infinite values; check its weights and inference precision"
        raise BadDatasetError(msg)
    return logits


def _is_product(node: ov.Node) -> bool:
    """Whether a node multiplies rows by a constant, each row alone."""
    kind = node.get_type_name()
    if kind not in ("MatMul", OP_NAME) or not _constant(node.input_value(1)):
        return False
    if kind == OP_NAME:
        return node.get_output_size() == 1 and bool((sparse_op.read(node)[1].threshold < 0).all())
    return not node.get_attributes()["transpose_a"]


def _constant(value: ov.Output) -> bool:
    """Whether a value depends on constants alone."""
    pending = [value.get_node()]
    while pending:
        node = pending.pop()
        if node.get_type_name() != "Constant":
            if not node.get_input_size() or node.get_type_name() == "ReadValue":
                return False
            pending += [v.get_node() for v in node.input_values()]
    return True
