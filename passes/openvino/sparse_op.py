"""Create scap_ov::SparseMatMul and read it back: the order of its inputs, its attributes, its name.

The friendly name of an op carries the site's name and those of its layers, `scap_ov.block.0.qkv|layer;layer;layer`, for
nothing else of a node survives a file and lets `raise_` give the layers their names back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openvino as ov

from scap_ov.custom_ops import OP_NAME
from scap_ov.passes.openvino.aligned import aligned_constant, aligned_empty
from scap_ov.passes.openvino.level_blocks import Blocks, Dial
from scap_ov.passes.openvino.packed_sections import as_bytes, read_sections, rows_of, write_sections
from scap_ov.passes.openvino.packed_site import PackedSite
from scap_ov.passes.openvino.portable_pattern import PREFIX

MOST_OUTPUTS = 16  # layers that one op holds, kMaxOutputs of custom_ops/src/execute.hpp
_SECTIONS_OF_PRUNING = 6  # files without planes end there
CreateOp = Callable[[list[Any], dict[str, Any]], ov.Node]


@dataclass(frozen=True)
class Pruning:
    """What is pruned, as the op takes it; of an op with levels, each array holds a block for every level.

    :param center: float32 [1] or [K].
    :param threshold: float32 [1] or [K].
    :param compensation: float32 [N], or empty.
    :param base: W·center, float32 [N], or empty.
    :param ramp: relative width of the ramp above the threshold; 0 for none.
    :param whole_threshold: of weights in planes: float32 [1] or [K], above which a channel is read whole; empty: wherever it is kept.
    """

    center: np.ndarray
    threshold: np.ndarray
    compensation: np.ndarray
    base: np.ndarray
    rows: str
    max_sparse_rows: int
    ramp: float = 0.0
    whole_threshold: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


def creator(op: str = OP_NAME) -> CreateOp:
    """A function that makes an op of ours from its inputs and attributes.

    :param op: its name in the extension library.
    :raises ExtensionError: the library is missing or does not fit this OpenVINO.
    """
    from openvino.utils.node_factory import NodeFactory

    from scap_ov.custom_ops.library import loaded

    factory = NodeFactory()
    loaded(factory.add_extension)
    return lambda inputs, attributes: factory.create(op, inputs, attributes)


def build(create: CreateOp, x: ov.Output, packed: PackedSite, pruning: Pruning, *, dynamic_quantization: bool,
          dial: Dial | None = None) -> ov.Node:  # fmt: skip
    """The op with its two inputs: x, and one constant for everything else."""
    *before, whole = (as_bytes(array) for array in _floats(pruning))
    sections = [packed.scale, packed.zero_point, *before]
    if packed.planes:
        sections += [packed.step, packed.offset, whole]
    constant = aligned_constant(_behind(packed, sections))
    attributes = {
        "weight_type": packed.weight_type, "group_size": packed.group_size, "scale_type": packed.scale_type,
        "output_sizes": list(packed.sizes), "sections": [section.size for section in sections], "rows": pruning.rows,
        "max_sparse_rows": pruning.max_sparse_rows, "ramp": pruning.ramp, "dynamic_quantization": dynamic_quantization,
    }  # fmt: skip
    if packed.planes:
        attributes |= {"planes": 1, "step_group": packed.step_group}
    if dial is not None:
        attributes |= dial.attributes()
    return create([x, constant.output(0)], attributes)


def read(node: ov.Node, level: float | None = None) -> tuple[PackedSite, Pruning]:
    """What an op holds.

    :param level: of an op with levels, the one to read; by default that which it starts with.
    :raises UsageError: the op has levels, and not this one.
    """
    block = Blocks.of(node, level)
    attributes = node.get_attributes()
    data = np.array(node.input_value(1).get_node().data)
    sizes = [int(size) for size in attributes["sections"]]
    k = len(data) - rows_of(sizes, data.shape[1])
    sections = read_sections(data[k:].reshape(-1), sizes)
    scale, zero_point, *floats = sections[:_SECTIONS_OF_PRUNING]
    step, offset, whole = sections[_SECTIONS_OF_PRUNING:] or [np.zeros(0, np.uint8)] * 3
    packed = PackedSite(attributes["weight_type"], int(attributes["group_size"]), attributes["scale_type"],
                        tuple(int(n) for n in attributes["output_sizes"]), data[:k], scale, zero_point,
                        bool(attributes.get("planes", 0)), int(attributes.get("step_group", 0)), step, offset)  # fmt: skip
    center, threshold, compensation, base = (block(values.view(np.float32)) for values in floats)
    pruning = Pruning(center, threshold, compensation, base, attributes["rows"], int(attributes["max_sparse_rows"]),
                      float(attributes.get("ramp", 0.0)), block(whole.view(np.float32)))  # fmt: skip
    return packed, pruning


def sizes_of(pruning: Pruning, *, planes: bool) -> list[int]:
    """Bytes of the sections that `pruning` takes, for `pack_site`."""
    return [as_bytes(array).size for array in _floats(pruning)][: None if planes else -1]


def _floats(pruning: Pruning) -> list[np.ndarray]:
    return [pruning.center, pruning.threshold, pruning.compensation, pruning.base, pruning.whole_threshold]


def _behind(packed: PackedSite, sections: Sequence[np.ndarray]) -> np.ndarray:
    """A weight [K, row_bytes] and sections of bytes -> u8 [K + rows of the sections, row_bytes]; in place where the site has room."""
    k, row_bytes = packed.weight.shape
    shape = (k + rows_of([section.size for section in sections], row_bytes), row_bytes)
    whole = packed.room
    if whole is None or whole.shape != shape:
        whole = aligned_empty(shape)
        whole[:k] = packed.weight
    write_sections(whole[k:].reshape(-1), sections)
    return whole


def joined_name(site: str, layers: Sequence[str]) -> str:
    """The op's friendly name: layers between semicolons, as a JSON list where a name holds one."""
    plain = all(name and ";" not in name and not name.startswith("[") for name in layers)
    return f"{PREFIX}{site}|{';'.join(layers) if plain else json.dumps(list(layers))}"


def names_of(node: ov.Node) -> tuple[str, list[str]]:
    """Site and layers of an op; made up from its own name where that was changed."""
    name = node.get_friendly_name()
    site, _, layers = name.partition("|")
    parts = _listed(layers) or layers.split(";")
    count = node.get_output_size()
    if len(parts) != count or not layers:
        return name, [f"{name}.{i}" for i in range(count)]
    return site.removeprefix(PREFIX), parts


def _listed(layers: str) -> list[str]:
    """Names written as a JSON list; none where they are not."""
    try:
        found = json.loads(layers) if layers.startswith("[") else []
    except ValueError:
        return []
    return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else []


def split_sizes(values: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """[ΣN] -> [N] of each layer."""
    return np.split(values, np.cumsum(sizes)[:-1])
