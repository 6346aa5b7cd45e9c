"""Create scap_ov::SparseMatMul and read it back: the order of its inputs, its attributes, its name.

The friendly name of an op carries the site's name and those of its layers, `scap_ov.block.0.qkv|layer;layer;layer`, for
nothing else of a node survives a file and lets `raise_` give the layers their names back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov

from scap_ov.errors import ExtensionError
from scap_ov.passes.openvino.constants import constant_values
from scap_ov.passes.openvino.packed_site import PackedSite
from scap_ov.passes.openvino.portable_pattern import PREFIX

OP = "SparseMatMul"
CreateOp = Callable[[list[Any], dict[str, Any]], ov.Node]


@dataclass(frozen=True)
class Pruning:
    """What is pruned, as the op takes it.

    :param center: float32 [1] or [K].
    :param threshold: float32 [1] or [K].
    :param compensation: float32 [N], or empty.
    :param base: W·center, float32 [N], or empty.
    """

    center: np.ndarray
    threshold: np.ndarray
    compensation: np.ndarray
    base: np.ndarray
    rows: str
    max_sparse_rows: int


def creator() -> CreateOp:
    """A function that makes the op from its inputs and attributes.

    :raises ExtensionError: the library is missing or does not fit this OpenVINO.
    """
    from openvino.utils.node_factory import NodeFactory

    from scap_ov.runtime import extension_path

    path = extension_path()
    factory = NodeFactory()
    try:
        factory.add_extension(str(path))
    except RuntimeError as e:
        msg = f"the extension library {path} cannot be loaded ({str(e).splitlines()[-1].strip()}); rebuild it with scap-ov build-extension"
        raise ExtensionError(msg) from e
    return lambda inputs, attributes: factory.create(OP, inputs, attributes)


def build(create: CreateOp, x: ov.Output, packed: PackedSite, pruning: Pruning, *, dynamic_quantization: bool) -> ov.Node:
    """The op with all its inputs."""
    arrays = [packed.weight, packed.scale, packed.zero_point, pruning.center, pruning.threshold, pruning.compensation, pruning.base]
    inputs = [x, *(ov.op.Constant(ov.Tensor(np.ascontiguousarray(array))).output(0) for array in arrays)]
    attributes = {
        "weight_type": packed.weight_type, "group_size": packed.group_size, "scale_type": packed.scale_type,
        "output_sizes": list(packed.sizes), "rows": pruning.rows, "max_sparse_rows": pruning.max_sparse_rows,
        "dynamic_quantization": dynamic_quantization,
    }  # fmt: skip
    return create(inputs, attributes)


def read(node: ov.Node) -> tuple[PackedSite, Pruning]:
    """What an op holds."""
    attributes = node.get_attributes()
    raw = [np.array(node.input_value(port).get_node().data) for port in (1, 2, 3)]
    center, threshold, compensation, base = (constant_values(node.input_value(p))[0].astype(np.float32).reshape(-1) for p in (4, 5, 6, 7))
    packed = PackedSite(attributes["weight_type"], int(attributes["group_size"]), attributes["scale_type"],
                        tuple(int(n) for n in attributes["output_sizes"]), *raw)  # fmt: skip
    return packed, Pruning(center, threshold, compensation, base, attributes["rows"], int(attributes["max_sparse_rows"]))


def joined_name(site: str, layers: Sequence[str]) -> str:
    """The op's friendly name."""
    return f"{PREFIX}{site}|{';'.join(layers)}"


def names_of(node: ov.Node) -> tuple[str, list[str]]:
    """Site and layers of an op; made up from its own name where that was changed."""
    name = node.get_friendly_name()
    site, _, layers = name.partition("|")
    parts = layers.split(";")
    count = node.get_output_size()
    if len(parts) != count or not layers:
        return name, [f"{name}.{i}" for i in range(count)]
    return site.removeprefix(PREFIX), parts


def split_sizes(values: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """[ΣN] -> [N] of each layer."""
    return np.split(values, np.cumsum(sizes)[:-1])
