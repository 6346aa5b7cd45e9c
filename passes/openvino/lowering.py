"""All passes that bring a model into the fast form, and back, in their order."""

from __future__ import annotations

import openvino as ov

from scap_ov.passes.base import PassResult
from scap_ov.passes.openvino.keep_slicing import DropSlicing, KeepSlicing
from scap_ov.passes.openvino.level_blocks import PlannedLevels
from scap_ov.passes.openvino.lower_experts import LowerExperts
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.raise_experts import RaiseExperts
from scap_ov.passes.openvino.raise_sparse_matmul import RaiseSparseMatMul
from scap_ov.progress import Progress


def lower(
    model: ov.Model, *, dynamic_quantization: bool = True, levels: PlannedLevels | None = None, progress: Progress | None = None
) -> PassResult[ov.Model]:
    """Our ops instead of every portable pattern, in place.

    :param levels: of the plan that was inserted, where it has any.
    :param progress: sites done, sites in all, routed experts apart.
    :return: with what stayed portable, and why.
    :raises ExtensionError: the library is missing or does not fit, and there is something to lower.
    """
    results = [LowerExperts(dynamic_quantization=dynamic_quantization, levels=levels)(model),
               LowerSparseMatMul(dynamic_quantization=dynamic_quantization, levels=levels, progress=progress)(model)]  # fmt: skip
    results.append(KeepSlicing()(model))
    return PassResult(model, any(r.modified for r in results), [pair for r in results for pair in r.skipped])


def raise_(model: ov.Model, level: float | None = None) -> PassResult[ov.Model]:
    """Standard ops instead of ours, in place: the portable form, with the weights that went in, bit for bit.

    :param level: of a model with levels, the one to write; by default that which the model starts with.
    :raises UsageError: the model has levels, and not this one.
    """
    results = [DropSlicing()(model), *(made(level)(model) for made in (RaiseExperts, RaiseSparseMatMul))]
    return PassResult(model, any(r.modified for r in results))
