"""Name the sites of a graph in a copy of it, so that they are looked for once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import openvino as ov

    from scap_ov.passes.rules.sites import FoundSites

Part = TypeVar("Part")


def sites_in_copy(found: FoundSites, copy: Sequence[ov.Node]) -> FoundSites | None:
    """The same sites, their nodes and tensors those of the copy; weights are read from the original.

    :param copy: nodes of the copy in topological order; also views of an ONNX graph.
    :return: None where they are not the nodes of the original in the same order.
    """
    if [_what(node) for node in found.ordered] != [_what(node) for node in copy]:
        return None
    twins = {node.get_instance_id(): twin for node, twin in zip(found.ordered, copy, strict=True)}
    matches = [
        dataclasses.replace(
            match,
            source=_twin(match.source, twins),
            matmuls=_twin(match.matmuls, twins),
            block=None if match.block is None else _twins_of(match.block, twins),
        )
        for match in found.matches
    ]
    return dataclasses.replace(found, matches=matches, ordered=copy)


def _what(node: ov.Node) -> tuple[str, str, int]:
    return node.get_friendly_name(), node.get_type_name(), node.get_input_size()


def _twins_of(block: Part, twins: dict[int, ov.Node]) -> Part:
    """A frozen dataclass with every node and tensor in it exchanged."""
    fields = {field.name: getattr(block, field.name) for field in dataclasses.fields(block)}  # type: ignore[arg-type]
    return dataclasses.replace(block, **{name: _twin(value, twins) for name, value in fields.items()})  # type: ignore[type-var]


def _twin(value: Part, twins: dict[int, ov.Node]) -> Part:
    """The node or tensor of the copy, or a tuple of them; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_twin(item, twins) for item in value)  # type: ignore[return-value]
    if hasattr(value, "get_instance_id"):
        return twins[value.get_instance_id()]  # type: ignore[return-value]
    if hasattr(value, "get_node"):
        return twins[value.get_node().get_instance_id()].output(value.get_index())  # type: ignore[return-value, attr-defined]
    return value
