"""Create scap_ov::SparseExperts and read it back: the layout of its two constants, its attributes, its name.

Each expert is packed as the site of a SparseMatMul is; experts follow one another, and behind the last one comes what all share.
docs/packing.md draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import openvino as ov

from scap_ov.errors import UsageError
from scap_ov.passes.openvino.aligned import aligned_constant, aligned_empty
from scap_ov.passes.openvino.level_blocks import Blocks, Dial
from scap_ov.passes.openvino.packed_sections import as_bytes, read_sections, rows_of, write_sections
from scap_ov.passes.openvino.packed_site import PackedSite
from scap_ov.passes.openvino.portable_pattern import PREFIX
from scap_ov.passes.openvino.sparse_op import CreateOp

OP = "SparseExperts"
ACTIVATIONS = ("silu", "gelu_tanh", "gelu_erf", "clamped_swiglu")
_INPUTS = ("x", "ids", "routing", "up", "down")


def _nothing() -> np.ndarray:
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class Stage:
    """One product of all experts of a layer; of an op with levels, what is pruned holds a block for every level.

    :param sites: the packed layers of each expert, E of them, alike in everything but their values; read once, one after the other.
    :param center: float32 [1] or [K], of all experts.
    :param threshold: float32 [1] or [K]; a negative one keeps everything.
    :param base: float32 [E, N], of L levels [E, L · N], added to pruned rows: W·center and what was learnt for them; or empty.
    :param bias: float32 [E, N], added to every row, or empty.
    :param whole_threshold: of weights in planes: float32 [1] or [K], above which a channel is read whole; empty: wherever it is kept.
    """

    sites: Sequence[PackedSite]
    center: np.ndarray
    threshold: np.ndarray
    base: np.ndarray = field(default_factory=_nothing)
    bias: np.ndarray = field(default_factory=_nothing)
    whole_threshold: np.ndarray = field(default_factory=_nothing)


@dataclass(frozen=True)
class Experts:
    """What an op holds, but for its inputs.

    :param up: gate and up, N = 2 I.
    :param down: K = I.
    :param gate_up: `halves`: gate's channels, then up's; `interleaved`: gate is channel 2i, up 2i + 1.
    :param activation: one of ACTIVATIONS.
    :param alpha: of clamped_swiglu, (up + 1) · gate / (1 + exp(-alpha · gate)).
    :param limit: of clamped_swiglu: gate is at most this, up within -limit … limit.
    """

    up: Stage
    down: Stage
    gate_up: str = "halves"
    activation: str = "silu"
    alpha: float = 1.0
    limit: float = 0.0
    rows: str = "decode"
    max_sparse_rows: int = 4


def build(create: CreateOp, x: ov.Output, ids: ov.Output, routing: ov.Output, experts: Experts, *, dynamic_quantization: bool,
          dial: Dial | None = None) -> ov.Node:  # fmt: skip
    """The op.

    :param create: of `sparse_op.creator(OP)`.
    :param x: f32 or f16 [..., K].
    :param ids: i32 or i64 [..., k], the experts of each token.
    :param routing: f32 [..., k], their weights.
    :raises UsageError: the experts of a stage differ in more than their values.
    """
    constants: list[ov.Output] = []
    attributes: dict[str, object] = {"experts": len(experts.up.sites)}
    for name, stage in (("up", experts.up), ("down", experts.down)):
        data, own = pack_stage(stage)
        constants.append(aligned_constant(data).output(0))
        attributes |= {f"{name}_{key}": value for key, value in own.items()}
    attributes |= {
        "gate_up": experts.gate_up, "activation": experts.activation, "alpha": experts.alpha, "limit": experts.limit,
        "rows": experts.rows, "max_sparse_rows": experts.max_sparse_rows, "dynamic_quantization": dynamic_quantization,
    }  # fmt: skip
    if dial is not None:
        attributes |= dial.attributes()
    return create([x, ids, routing, *constants], attributes)


def read(node: ov.Node, level: float | None = None) -> Experts:
    """What an op holds; weights are views of its constants.

    :param level: of an op with levels, the one to read; by default that which it starts with.
    :raises UsageError: the op has levels, and not this one.
    """
    attributes, block = node.get_attributes(), Blocks.of(node, level)
    up, down = (_read_stage(node, name, int(attributes["experts"]), block) for name in ("up", "down"))
    return Experts(up, down, attributes["gate_up"], attributes["activation"], float(attributes["alpha"]), float(attributes["limit"]),
                   attributes["rows"], int(attributes["max_sparse_rows"]))  # fmt: skip


def joined_name(layer: str, weights: Sequence[str]) -> str:
    """The op's friendly name: the layer of experts, and the MatMuls that it replaces."""
    return f"{PREFIX}{layer}|{';'.join(weights)}"


def names_of(node: ov.Node) -> tuple[str, list[str]]:
    """Inverse of `joined_name`; without MatMuls where the name was changed."""
    layer, _, weights = node.get_friendly_name().partition("|")
    return layer.removeprefix(PREFIX), [name for name in weights.split(";") if name]


def pack_stage(stage: Stage) -> tuple[np.ndarray, dict[str, object]]:
    """u8 [E·(K + P) + rows of what is shared, row_bytes], and the attributes that describe it."""
    first, count = stage.sites[0], len(stage.sites)
    base = stage.base.astype(np.float32, copy=False).reshape(count, -1) if stage.base.size else None
    sections = [first.scale.size, first.zero_point.size, 0 if base is None else base[0].nbytes, first.step.size, first.offset.size]
    shared = [as_bytes(values) for values in (stage.center, stage.threshold, stage.bias, stage.whole_threshold)]
    k, row_bytes = first.weight.shape
    height, tail = k + rows_of(sections, row_bytes), rows_of([section.size for section in shared], row_bytes)
    data = aligned_empty((count * height + tail, row_bytes))
    for number, site in enumerate(stage.sites):
        _check_alike(first, site, number)
        own = data[number * height : (number + 1) * height]
        own[:k] = site.weight
        own_base = as_bytes(_nothing() if base is None else base[number])
        write_sections(own[k:].reshape(-1), [site.scale, site.zero_point, own_base, site.step, site.offset])
    write_sections(data[count * height :].reshape(-1), shared)
    return data, {
        "weight_type": first.weight_type, "group_size": first.group_size, "scale_type": first.scale_type, "size": sum(first.sizes),
        "sections": sections, "shared": [section.size for section in shared], "planes": int(first.planes), "step_group": first.step_group,
    }  # fmt: skip


def _check_alike(first: PackedSite, site: PackedSite, number: int) -> None:
    def shape(packed: PackedSite) -> tuple[object, ...]:
        return (packed.weight_type, packed.group_size, packed.scale_type, packed.sizes, packed.weight.shape, packed.scale.shape,
                packed.zero_point.shape, packed.planes, packed.step_group)  # fmt: skip

    if shape(site) != shape(first):
        msg = f"expert {number} is {shape(site)}, expert 0 {shape(first)}: the experts of a layer must have one type and size"
        raise UsageError(msg)


def _read_stage(node: ov.Node, name: str, experts: int, block: Blocks) -> Stage:
    attributes = node.get_attributes()
    weight_type, group_size, scale_type, size, sections, shared = (
        attributes[f"{name}_{key}"] for key in ("weight_type", "group_size", "scale_type", "size", "sections", "shared")
    )
    layers = (int(size) // 2,) * 2 if name == "up" and attributes["gate_up"] == "halves" else (int(size),)
    sections, shared = ([int(size) for size in sizes] for sizes in (sections, shared))
    data = node.input_value(_INPUTS.index(name)).get_node().data
    row_bytes = data.shape[1]
    height = (len(data) - rows_of(shared, row_bytes)) // experts
    k = height - rows_of(sections, row_bytes)
    sites, bases = [], []
    for number in range(experts):
        own = data[number * height : (number + 1) * height]
        scale, zero_point, base, step, offset = read_sections(own[k:].reshape(-1), sections)
        sites.append(PackedSite(weight_type, int(group_size), scale_type, layers, own[:k], scale, zero_point,
                                bool(attributes[f"{name}_planes"]), int(attributes[f"{name}_step_group"]), step, offset))  # fmt: skip
        bases.append(block(base.view(np.float32)))
    center, threshold, bias, whole = (part.view(np.float32) for part in read_sections(data[experts * height :].reshape(-1), shared))
    base_of_all = np.stack(bases) if sections[2] else _nothing()
    return Stage(sites, block(center), block(threshold), base_of_all, bias.reshape(experts, -1) if bias.size else bias, block(whole))
