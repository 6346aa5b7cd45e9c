"""Match the portable pattern, ours or one that came in another way. Written by: portable_pattern. Used by the other passes.

keep when   |x − c| > τ   Greater(Abs, τ), Less(τ, Abs), or the negation: LessEqual, GreaterEqual, LogicalNot
x − c       Subtract(x, c), Add(x, −c), or x itself when c is 0
value       Select(keep, x, c) or Select(drop, c, x); c a constant of any type, through Convert or not
x           with a ramp: Subtract(x, Multiply(Sign(x − c), Relu(Subtract(τ, Multiply(Subtract(|x − c|, τ), s))))), s = 1 / ramp
τ           a constant, or Select(rows ≤ constant, constant, negative constant), with a ramp also Select(exempt, negative constant, τ)
exempt      LogicalOr(keep, something that depends on shapes alone), or LogicalAnd(drop, ...)
behind      Add(layer, what reading by half loses) or Subtract, see half_reads; Add(layer, compensation)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import openvino as ov

from scap_ov.passes.rules.constants import constant_values
from scap_ov.passes.rules.match_half_read import HalfRead, match_half_read
from scap_ov.passes.rules.match_ramp import match_ramp
from scap_ov.passes.rules.passthrough import carries_channels
from scap_ov.passes.rules.tensors import key_of, unconverted

EVERY_ROW = 2**31 - 1  # `decode` without a limit: how a pattern without row policy reads
_MIRRORED = {"Greater": "Less", "Less": "Greater", "GreaterEqual": "LessEqual", "LessEqual": "GreaterEqual"}


@dataclass(frozen=True)
class PatternLayer:
    """A layer that reads a pruned tensor.

    :param path: nodes between Select and MatMul.
    :param compensation: float32 [N] or None.
    :param result: the output that stands for the layer: of the Add of the compensation, of the Add or Subtract of what half-reading
        loses, or of the MatMul.
    :param half: what it loses where a channel is read by half; None where it reads whole channels.
    """

    matmul: ov.Node
    path: tuple[ov.Node, ...]
    compensation: np.ndarray | None
    result: ov.Output
    half: HalfRead | None = None


@dataclass(frozen=True)
class Pattern:
    """One pruned tensor.

    :param center: float32 [1] or [K].
    :param threshold: float32 [1] or [K].
    :param rows: `decode` or `all`.
    :param max_sparse_rows: of `decode`; EVERY_ROW when there is no row policy.
    :param ramp: relative width of the ramp above the threshold; 0 for none.
    :param whole_threshold: float32 [1] or [K], up to which channels are read by half; empty where none is.
    :param time_first: with `all`, the first position of axis 0 is exempt, not that of axis 1.
    """

    select: ov.Node
    source: ov.Output
    center: np.ndarray
    threshold: np.ndarray
    rows: str
    max_sparse_rows: int
    ramp: float
    layers: tuple[PatternLayer, ...]
    whole_threshold: np.ndarray
    time_first: bool = False

    @property
    def odd_center(self) -> str:
        """Why the op cannot stand for it: its product W·c would be NaN, where this form loses one channel at most. Plans have no such c."""
        return "" if np.isfinite(self.center).all() else "its centre holds NaN or infinity, which the op would spread over all outputs"


@dataclass(frozen=True)
class _Test:
    """A condition: whether it is true for entries that are kept, |x − c| > τ, and rows that are exempt."""

    keeps: bool
    distance: ov.Output  # |x − c|
    x: ov.Output
    center: np.ndarray
    threshold: ov.Output
    inclusive: bool  # kept at equality
    exempt: bool
    time_first: bool = False  # the exempt rows are [T, 1, 1]


def match_patterns(model: ov.Model) -> list[Pattern]:
    """All patterns of a model in topological order."""
    return patterns_at(node for node in model.get_ordered_ops() if node.get_type_name() == "Select")


def patterns_at(selects: Iterable[ov.Node]) -> list[Pattern]:
    """The patterns that these Selects close."""
    return [pattern for pattern in map(match_pattern, selects) if pattern is not None]


def match_pattern(select: ov.Node) -> Pattern | None:
    """The pattern that a Select closes and fully connected layers read, or None."""
    found = match_pruned(select)
    return found if found is not None and found.layers else None


def match_pruned(select: ov.Node, products: Sequence[ov.Node] = ()) -> Pattern | None:
    """The pattern that a Select closes whatever reads it, its fully connected layers with it; None where it is none.

    :param products: of routed experts, which read it through a Tile or not; they are among the pattern's layers then.
    """
    test = _test(select.input_value(0))
    if test is None:
        return None
    kept, other = select.input_value(1 if test.keeps else 2), select.input_value(2 if test.keeps else 1)
    source, ramp = match_ramp(kept, test.distance, test.threshold)
    replacement = _number(other)
    if replacement is None or key_of(unconverted(test.x)) != key_of(unconverted(source)) or source.get_partial_shape().rank.is_dynamic:
        return None
    if not _same_in(source.get_element_type(), replacement, test.center):
        return None
    policy, layers = _policy(test), (*_layers(select.output(0), ()), *map(_product, products))
    whole = _whole(layers, test.distance)
    if policy is None or whole is None:
        return None
    threshold, rows, limit = policy
    if test.inclusive:
        threshold = np.nextafter(threshold, np.float32(-np.inf))
    first = _time_first(test)
    return Pattern(select, source, test.center, threshold.astype(np.float32), rows, limit, ramp, layers, whole, first)


def _whole(layers: tuple[PatternLayer, ...], distance: ov.Output) -> np.ndarray | None:
    """τ₁ of the layers that are read by half, empty where none is; None where they do not agree."""
    halves = [layer.half for layer in layers if layer.half is not None]
    if not halves:
        return np.zeros(0, np.float32)
    if any(key_of(half.distance) != key_of(distance) or key_of(half.whole) != key_of(halves[0].whole) for half in halves):
        return None
    node = halves[0].whole.get_node()
    limited = node.get_type_name() == "Select" and _row_limit(node.input_value(0).get_node()) is not None
    return _number(node.input_value(1) if limited else halves[0].whole)


def _time_first(test: _Test) -> bool:
    above = unconverted(test.threshold).get_node()
    return test.time_first or (above.get_type_name() == "Select" and _is_first_axis(above.input_value(0)))


def _is_first_axis(exempt: ov.Output) -> bool:
    """Whether exempt positions are of axis 0: [T, 1, 1]."""
    shape = exempt.get_partial_shape()
    return bool(shape.rank.is_static and len(shape) == 3 and list(shape)[1:] == [1, 1])


def _same_in(dtype: ov.Type, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two constants are the same in a type; in bf16, whose rounding numpy does not do, within one of its steps."""
    if dtype == ov.Type.bf16:
        return bool(np.allclose(one, other, rtol=2.0**-7, atol=0, equal_nan=True))
    exact = np.float16 if dtype == ov.Type.f16 else np.float32
    return bool(((one.astype(exact) == other.astype(exact)) | (np.isnan(one) & np.isnan(other))).all())


def _test(value: ov.Output, *, depth: int = 0) -> _Test | None:
    node = value.get_node()
    kind = node.get_type_name()
    if depth > 4:
        return None
    if kind == "Convert":
        return _test(node.input_value(0), depth=depth + 1)
    if kind == "LogicalNot":
        inner = _test(node.input_value(0), depth=depth + 1)
        return inner and replace(inner, keeps=not inner.keeps)
    if kind in ("LogicalOr", "LogicalAnd"):
        for port in (0, 1):
            inner = _test(node.input_value(port), depth=depth + 1)
            if inner and inner.keeps == (kind == "LogicalOr") and not inner.exempt and _of_shapes(node.input_value(1 - port)):
                return replace(inner, exempt=True, time_first=_is_first_axis(node.input_value(1 - port)))
        return None
    return _comparison(node) if kind in _MIRRORED else None


def _comparison(node: ov.Node) -> _Test | None:
    left, right, kind = node.input_value(0), node.input_value(1), node.get_type_name()
    if left.get_node().get_type_name() != "Abs":
        left, right, kind = right, left, _MIRRORED[kind]
    if left.get_node().get_type_name() != "Abs":
        return None
    x, center = left.get_node().input_value(0), np.zeros(1, np.float32)
    shift = x.get_node()
    if shift.get_type_name() in ("Subtract", "Add"):
        for port in (1, 0) if shift.get_type_name() == "Add" else (1,):
            constant = _number(shift.input_value(port))
            if constant is not None:
                x = shift.input_value(1 - port)
                center = constant if shift.get_type_name() == "Subtract" else -constant
                break
    # |x - c| > t and >= t keep where true; < and <= drop where true, so that < keeps at equality
    return _Test(kind in ("Greater", "GreaterEqual"), left, x, center, right, kind in ("GreaterEqual", "Less"), False)


def _policy(test: _Test) -> tuple[np.ndarray, str, int] | None:
    """Threshold, rows and the limit of `decode`."""
    constant = _number(test.threshold)
    shape = test.x.get_partial_shape()
    if constant is not None:
        one_position = len(shape) != 3 or (shape[1].is_static and shape[1].get_length() == 1)
        return (constant, "all", 0) if test.exempt or one_position else (constant, "decode", EVERY_ROW)
    node = test.threshold.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Select" or test.exempt:
        return None
    one, other = _number(node.input_value(1)), _number(node.input_value(2))
    if one is None or other is None:
        return None
    limit = _row_limit(node.input_value(0).get_node())
    if limit is not None:
        return (one, "decode", limit) if (other < 0).all() else None
    exempt = (one < 0).all() and one.size == 1 and _of_shapes(node.input_value(0))
    return (other, "all", 0) if exempt else None


def _row_limit(node: ov.Node) -> int | None:
    """N of a test `rows ≤ n`, where rows depend on shapes alone."""
    kind = node.get_type_name()
    if kind not in _MIRRORED:
        return None
    left, right = node.input_value(0), node.input_value(1)
    if _number(left) is not None:
        left, right, kind = right, left, _MIRRORED[kind]
    limit = _number(right)
    if limit is None or limit.size != 1 or kind not in ("LessEqual", "Less") or not _of_shapes(left):
        return None
    return int(limit[0]) - (kind == "Less")


def _layers(value: ov.Output, path: tuple[ov.Node, ...]) -> Iterator[PatternLayer]:
    for target in sorted(value.get_target_inputs(), key=lambda t: t.get_node().get_instance_id()):
        node = target.get_node()
        if node.get_type_name() == "MatMul" and target.get_index() == 0 and not _is_batched(node):
            half, output = match_half_read(node) or (None, node.output(0))
            yield PatternLayer(node, path, *_compensation(output), half)
        elif carries_channels(node):
            yield from _layers(node.output(0), (*path, node))


def _product(matmul: ov.Node) -> PatternLayer:
    """A batched product of routed experts, which has no compensation."""
    half, output = match_half_read(matmul) or (None, matmul.output(0))
    return PatternLayer(matmul, (), None, output, half)


def _is_batched(matmul: ov.Node) -> bool:
    """Whether a product has a matrix for each of several experts, which match_experts reads."""
    shape = matmul.get_input_partial_shape(1)
    return bool(shape.is_static and len(shape) > 2 and np.prod(shape.to_shape()[:-2]) > 1)


def _compensation(own: ov.Output) -> tuple[np.ndarray | None, ov.Output]:
    """The constant of `Add(layer, Select(pruned, compensation, 0))`."""
    readers = [t.get_node() for t in own.get_target_inputs()]
    if len(readers) == 1 and readers[0].get_type_name() == "Add":
        add = readers[0]
        others = [v for v in add.input_values() if key_of(v) != key_of(own)]
        node = unconverted(others[0]).get_node() if others else add
        if node.get_type_name() == "Select" and _of_shapes(node.input_value(0)):
            value, rest = _number(node.input_value(1)), _number(node.input_value(2))
            whole = value is not None and value.size == own.get_partial_shape()[-1].get_length()
            if whole and rest is not None and not rest.any():
                return value, add.output(0)
    return None, own


def _of_shapes(value: ov.Output) -> bool:
    """Whether a value depends on shapes and constants alone."""
    pending, seen = [value.get_node()], set()
    while pending:
        node = pending.pop()
        if node.get_instance_id() in seen or node.get_type_name() in ("ShapeOf", "Constant"):
            continue
        seen.add(node.get_instance_id())
        if node.get_input_size() == 0 or node.get_type_name() == "ReadValue" or len(seen) > 32:
            return False
        pending += [v.get_node() for v in node.input_values()]
    return True


def _number(value: ov.Output) -> np.ndarray | None:
    """A constant that is one number, or one for each channel, as float32 [1] or [K]."""
    try:
        values = constant_values(value)[0]
    except ValueError:
        return None
    return values.astype(np.float32).reshape(-1) if values.size == (values.shape[-1] if values.ndim else 1) else None
