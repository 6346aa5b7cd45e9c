"""One site with a few layers as a whole model, a plan for it, and what it should give. Imported by tests of the passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from decode_steps import EXACT
from openvino import opset13 as ops
from weight_forms import Stored, matmul, store

from scap_ov.config import SparsityConfig
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.openvino.insert_sparsity import InsertSparsity
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.plan import SitePlan, SparsityPlan

EPS = 2.0**-24


@dataclass(frozen=True)
class Built:
    """A model x -> layers, and its weights."""

    model: ov.Model
    weights: list[Stored]


def one_site(forms: list[str], sizes: list[int], k: int, *, seed: int = 0, activations: str = "f32", rank: int = 3) -> Built:
    """A site of layers that read the input `x`, [?, ?, K] (or fewer or more leading dimensions), each with an output."""
    rng = np.random.default_rng(seed)
    x = ops.parameter(ov.PartialShape([-1] * (rank - 1) + [k]), getattr(ov.Type, activations), name="x")
    x.output(0).get_tensor().set_names({"x"})
    weights = [store(n, k, form, rng, activations=activations) for form, n in zip(forms, sizes, strict=True)]
    results = []
    for number, stored in enumerate(weights):
        node = matmul(x, stored, f"layers.0.layer{number}")
        node.output(0).get_tensor().set_names({f"y{number}"})
        results.append(ops.result(node))
    return Built(ov.Model(results, [x], "one site"), weights)


def through_convert_and_reshape(form: str, n: int, k: int) -> tuple[ov.Model, list[Stored]]:
    """A site of float16 [?, ?, K] that one layer reads through a Convert, and another through a Reshape and a Convert."""
    x = ops.parameter(ov.PartialShape([-1, -1, k]), np.float16, name="x")
    rng = np.random.default_rng(0)
    weights = [store(n, k, form, rng) for _ in range(2)]
    paths = x, ops.reshape(x, np.array([-1, k]), special_zero=False)
    layers = [matmul(ops.convert(path, np.float32), own, f"layer{i}") for i, (path, own) in enumerate(zip(paths, weights, strict=True))]
    return ov.Model([ops.result(layer) for layer in layers], [x], "m"), weights


def straight_and_flat(n: int, k: int) -> ov.Model:
    """A site [?, ?, K] of two int8 layers, of which the second reads it through a Reshape that hides which row is the first position."""
    x = ops.parameter(ov.PartialShape([-1, -1, k]), np.float32, name="x")
    flat = ops.reshape(x, np.array([-1, k]), special_zero=False)
    rng = np.random.default_rng(0)
    layers = [matmul(path, store(n, k, "i8", rng), name) for path, name in ((x, "straight"), (flat, "flat"))]
    return ov.Model([ops.result(layer) for layer in layers], [x], "m")


def x_of(*shape: int, seed: int = 5, dtype=np.float32) -> np.ndarray:
    """Normal activations."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def forms_of(built: Built, threshold, **plan) -> tuple[ov.Model, ov.Model]:
    """The portable and the lowered model, every site in the op."""
    portable = InsertSparsity(plan_of(built.model, threshold, **plan))(built.model.clone()).model
    result = LowerSparseMatMul(dynamic_quantization=False)(portable.clone())
    assert result.modified
    assert result.skipped == []
    return portable, result.model


def plan_of(model: ov.Model, threshold, *, center=0.0, compensation=None, lm_head: bool = True, **config) -> SparsityPlan:
    """The same threshold and centre at every site.

    :param threshold, center: a number, or an array for [K] values.
    :param compensation: a function from N to float32 [N], or None.
    """
    sites = tuple(match.site for match in find_sites(model, lm_head=lm_head).matches)
    entries = {}
    for site in sites:
        extra = None if compensation is None else np.asarray(compensation(site.out_features), np.float32)
        entries[site.name] = SitePlan(site.name, vector(threshold), vector(center), 0.5, extra)
    return SparsityPlan(SparsityConfig(replace="always", **config), fingerprint(model), sites, entries)


def vector(value) -> np.ndarray:
    """float32 [1] or [K]."""
    return np.atleast_1d(np.asarray(value, np.float32))


def infer(model: ov.Model, inputs, core: ov.Core | None = None, properties=None) -> list[np.ndarray]:
    """Outputs of a model with exact arithmetic."""
    compiled = (core or ov.Core()).compile_model(model, "CPU", EXACT if properties is None else properties)
    values = compiled(inputs)
    return [np.array(values[i]) for i in range(len(compiled.outputs))]


def reference(x: np.ndarray, dense: np.ndarray, threshold, center, pruned_rows: np.ndarray, compensation=None, rounding=0.0, ramp=0.0):
    """The output in float64 and how far float32 may stray from it.

    :param x: [..., K].
    :param pruned_rows: bool [...].
    :param rounding: of the weights, where they are rounded: Stored.plugin_rounding.
    :param ramp: relative width of the ramp; 0 for none.
    :return: y and tolerance, [..., N].
    """
    x64, c = x.astype(np.float64), np.broadcast_to(vector(center).astype(np.float64), x.shape[-1:])
    distance = np.abs(x.astype(np.float32) - vector(center))
    keep = (distance > vector(threshold)) | ~pruned_rows[..., None]
    moved = x64
    if ramp:  # the kept value is a line from 0 at the threshold until it meets the identity
        t = vector(threshold).astype(np.float64)
        size = np.minimum(np.abs(x64 - c), (np.abs(x64 - c) - t) * (1 + 1 / ramp))
        moved = np.where(pruned_rows[..., None] & (t >= 0), c + np.sign(x64 - c) * size, x64)
    kept = np.where(keep, moved, c)
    y = kept @ dense.T
    size = (np.abs(x64 - c) + np.abs(c)) @ np.abs(dense).T + np.abs(y)
    if compensation is not None:
        y = y + np.where(pruned_rows[..., None], compensation, 0)
        size = size + np.abs(compensation)
    return y, ((8 + 8 / ramp if ramp else 8) * EPS + rounding) * size + 1e-30


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: np.ndarray, what: str) -> None:
    """Every element within its tolerance; the worst is named."""
    assert actual.shape == expected.shape
    excess = np.abs(actual - expected) / tolerance
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    assert excess[worst] <= 1, f"{what}: {actual[worst]} instead of {expected[worst]} at {worst}, {excess[worst]:.1f} × its tolerance"
