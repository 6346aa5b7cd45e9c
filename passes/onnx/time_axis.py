"""Tell tensors [T, B, K] from [B, T, K] in an ONNX graph, by the names that its inputs give to these dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def time_first(model: ir.Model, values: Sequence[ir.Value]) -> list[bool]:
    """Which values are [T, B, ...] when token ids are [B, T] and embeddings [B, T, H].

    :param model: with shapes, as infer_shapes leaves it.
    """
    given = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    sizes = next((s for value in given if (s := _batch_and_length(value)) is not None), None)
    return [sizes is not None and _leading(value) == sizes[::-1] for value in values]


def _batch_and_length(value: ir.Value) -> list[str | int] | None:
    rank = 2 if value.dtype is not None and value.dtype.is_integer() else 3
    if value.shape is None or len(value.shape) != rank:
        return None
    found = _leading(value)
    return found if len(set(found)) == 2 else None


def _leading(value: ir.Value) -> list[str | int]:
    if value.shape is None or len(value.shape) < 2:
        return []
    return [dim if isinstance(dim, int) else dim.value or "" for dim in list(value.shape)[:2]]
