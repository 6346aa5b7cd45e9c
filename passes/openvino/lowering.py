"""All passes that bring a model into the fast form, and back, in their order. Used by: backends, evaluation, benchmarking."""

from __future__ import annotations

import openvino as ov

from scap_ov.passes.base import PassResult
from scap_ov.passes.openvino.lower_experts import LowerExperts
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.passes.openvino.raise_experts import RaiseExperts
from scap_ov.passes.openvino.raise_sparse_matmul import RaiseSparseMatMul


def lower(model: ov.Model, *, dynamic_quantization: bool = True) -> PassResult[ov.Model]:
    """Our ops instead of every portable pattern, in place.

    :return: with what stayed portable, and why.
    :raises ExtensionError: the library is missing or does not fit, and there is something to lower.
    """
    results = [made(dynamic_quantization=dynamic_quantization)(model) for made in (LowerExperts, LowerSparseMatMul)]
    return PassResult(model, any(r.modified for r in results), [pair for r in results for pair in r.skipped])


def raise_(model: ov.Model) -> PassResult[ov.Model]:
    """Standard ops instead of ours, in place: the portable form, with the weights that went in, bit for bit."""
    results = [made()(model) for made in (RaiseExperts, RaiseSparseMatMul)]
    return PassResult(model, any(r.modified for r in results))
