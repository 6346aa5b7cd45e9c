"""Models of copies of one site, stock and lowered, to measure the op beside stock layers.

Each copy waits for the one before, as blocks of a model do. The number of rows is dynamic as in exported models: the CPU plugin infers
the shapes of an extension op anew at every call then, which costs time.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scap_ov.config import SparsityConfig
from scap_ov.custom_ops import OP_NAME
from scap_ov.evaluation.bytes_read import layer_bytes
from scap_ov.models.opened import OpenedModel
from scap_ov.passes.openvino import sparse_op
from scap_ov.passes.openvino.aligned import aligned_constant, aligned_copy
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.packed_site import split_site
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.sample_models.synthetic import random_weight
from scap_ov.sites import Site

MOST_COPIES = 96
_WEIGHT_BYTES = 1024  # smaller constants may be shared: they come from a cache in any case
_GRADES = np.float32(10)  # τ₁ / τ₀ where the high plane misses one per cent of the energy, as of per-channel int8 in step groups of 128


def copies_of(site: Site) -> int:
    """How many copies are twice the last-level cache, within bounds that keep building them below a second."""
    size = sum(sum(layer_bytes(layer)) for layer in site.layers)
    return max(2, min(MOST_COPIES, math.ceil(2 * cache_bytes() / size)))


def cache_bytes() -> int:
    """Of the last level, at most 64 MB; 32 MB where the system does not tell."""
    for index in (3, 2):
        path = Path(f"/sys/devices/system/cpu/cpu0/cache/index{index}/size")
        if path.is_file():
            text = path.read_text().strip()
            unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1], 1)
            return min(int(text.rstrip("KMG")) * unit, 64 << 20)
    return 32 << 20


def stock_model(site: Site, copies: int) -> ov.Model:
    """Copies of the site's layers one behind the other, random weights; x and output f32 [rows, 1, K], rows dynamic."""
    rng = np.random.default_rng(0)
    x = ops.parameter([-1, 1, site.in_features], np.float32, name="x")
    current: ov.Node = x
    for copy in range(copies):
        outputs = []
        for number, layer in enumerate(site.layers):
            weight = random_weight(layer.out_features, layer.in_features, layer.weight, rng)
            y = ops.matmul(current, weight, False, True)
            y.set_friendly_name(f"gain.copy{copy}.layer{number}")
            outputs.append(ops.reduce_mean(y, ops.constant(np.array([-1])), keep_dims=True))
        # the next copy waits for this one, as blocks do; the sum of means is tiny and changes nothing that is measured
        total = outputs[0]
        for one in outputs[1:]:
            total = ops.add(total, one)
        current = ops.add(x, ops.multiply(total, ops.constant(np.float32(1e-6))))
    return ov.Model([current], [x], "gain")


def repeated(model: ov.Model, copies: int) -> ov.Model:
    """A model of one input and one output `copies` times in a row, each with weights at an address of its own.

    Making and packing random weights takes far longer than copying them.
    """
    parts = [model.clone() for _ in range(copies)]
    for number, part in enumerate(parts):
        for node in part.get_ops():
            if node.get_type_name() == "Constant" and node.get_byte_size() >= _WEIGHT_BYTES:
                _replace(node.output(0), _own_copy(node).output(0))
            elif node.get_type_name() == OP_NAME:
                node.set_friendly_name(f"{node.get_friendly_name()}.{number}")
    for before, after in pairwise(parts):
        _replace(after.get_parameters()[0].output(0), before.get_results()[0].input_value(0))
    return ov.Model([parts[-1].get_results()[0].input_value(0)], parts[0].get_parameters(), model.get_friendly_name())


def _own_copy(constant: ov.Node) -> ov.Node:
    if constant.get_element_type() == ov.Type.u8:
        return aligned_constant(aligned_copy(constant.data))
    tensor = ov.Tensor(constant.get_element_type(), constant.get_output_shape(0))
    np.copyto(tensor.data.reshape(-1).view(np.uint8), constant.data.reshape(-1).view(np.uint8))
    return ov.op.Constant(tensor)


def _replace(old: ov.Output, new: ov.Output) -> None:
    for reader in old.get_target_inputs():
        reader.replace_source_output(new)


def sparse_model(stock: ov.Model, sparsity: float, config: SparsityConfig, *, graded: bool = False) -> ov.Model:
    """The same, lowered, with the threshold that drops this share of a normal x; at 0 nothing is dropped.

    :param graded: read channels by half too, so that this share of the bytes is not read.
    """
    clone, found = OpenedModel(stock).copy()
    sites = tuple(match.site for match in found.matches)
    values = np.abs(np.random.default_rng(0).standard_normal(sites[0].in_features).astype(np.float32))
    entries = {site.name: entry_for(site.name, values, sparsity, graded=graded) for site in sites}
    inserted = InsertSparsity(SparsityPlan(config, "", sites, entries), found=found)(clone).model
    return LowerSparseMatMul(dynamic_quantization=config.dynamic_quantization)(inserted).model


def entry_for(name: str, magnitudes: np.ndarray, sparsity: float, *, graded: bool) -> SitePlan:
    """Thresholds that leave this share of the bytes unread at inputs of these magnitudes; at 0 nothing is dropped.

    :param magnitudes: float32 [K].
    :param graded: read channels by half too.
    """
    scores = np.concatenate([magnitudes, magnitudes / _GRADES]) if graded else magnitudes
    threshold = np.array([np.quantile(scores, sparsity) if sparsity else -1.0], np.float32)
    whole = np.where(threshold < 0, threshold, _GRADES * threshold) if graded else None
    return SitePlan(name, threshold, np.zeros(1, np.float32), sparsity, None, whole)


def graded_model(sparse: ov.Model) -> ov.Model:
    """A lowered model of int8 sites with its weights in two planes, so that a `whole_threshold` can be set."""
    model = sparse.clone()
    create = sparse_op.creator()
    for node in model.get_ops():
        if node.get_type_name() != OP_NAME:
            continue
        packed, pruning = sparse_op.read(node)
        pruning = replace(pruning, whole_threshold=pruning.threshold.copy())
        dynamic = bool(node.get_attributes()["dynamic_quantization"])
        graded = sparse_op.build(create, node.input_value(0), split_site(packed), pruning, dynamic_quantization=dynamic)
        graded.set_friendly_name(node.get_friendly_name())
        for number in range(node.get_output_size()):
            _replace(node.output(number), graded.output(number))
    return model


def set_thresholds(model: ov.Model, threshold: float, whole_threshold: float | None = None) -> None:
    """Rewrite the thresholds of every op, one float each, in place of its packed constant (docs/packing.md)."""
    for node in model.get_ops():
        if node.get_type_name() != OP_NAME:
            continue
        sizes = [int(size) for size in node.get_attributes()["sections"]]
        data = aligned_copy(node.input_value(1).get_node().data)
        starts = np.cumsum([0, *(-(-size // 64) * 64 for size in sizes)])
        rest = data[len(data) - -(-int(starts[-1]) // data.shape[1]) :].reshape(-1)
        for section, value in ((3, threshold), (8, whole_threshold)):
            if value is not None:
                rest[starts[section] :][:4].view(np.float32)[:] = value
        node.input(1).replace_source_output(aligned_constant(data).output(0))
