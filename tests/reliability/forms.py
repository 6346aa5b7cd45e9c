"""One layer in every form that it takes, on activations with NaN, infinity and the like: what stock gives is what every form gives.

Forms of OpenVINO: portable and lowered. Of ONNX: portable and function in onnxruntime, and lowered in OpenVINO. A case is one input of one
form; layers, thresholds and inputs follow from a seed.

python tests/reliability/forms.py [SEED]    # repeats the layers of one seed
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import openvino as ov

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import onnx_graphs
import weight_forms
from decode_steps import EXACT
from pruned_layers import one_site
from report import SEED, Part
from sweep import LARGEST_F16
from sweep_cases import SPECIAL, special_values

from scap_ov.backends import onnx as onnx_backend
from scap_ov.backends import openvino as openvino_backend
from scap_ov.config import SparsityConfig
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.passes.openvino.find_sites import find_sites, fingerprint
from scap_ov.passes.rules.constants import FLOATS
from scap_ov.plan import SitePlan, SparsityPlan
from scap_ov.runtime import register
from scap_ov.sites import Site

_CHANNELS = (1, 31, 64, 97, 256)
_SIZES = (1, 17, 64, 65)
_INPUTS = 8  # of every layer
Run = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Layer:
    """Stock and pruned forms of one site.

    :param dense: float64 [N, K] of each of its layers, without what stands behind the product.
    :param floats: float weights: infinity keeps its sign. With integers a sum may hold both, as zero points are taken off at the end.
    """

    what: str
    plan: SitePlan
    dense: list[np.ndarray]
    shape: tuple[int, ...]
    dtype: np.dtype
    floats: bool
    stock: Run
    forms: dict[str, Run]
    rows_last: bool = False  # x is [K, M]


def forms(first: int, count: int) -> Part:
    """Layers of seeds first … first + count - 1."""
    part = Part("Forms against stock")
    for seed in range(first, first + count):
        layer = _openvino_layer(seed) if seed % 2 else _onnx_layer(seed)
        _compare(part, layer, seed)
    return part


def _compare(part: Part, layer: Layer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number in range(_INPUTS):
        x = rng.standard_normal(layer.shape).astype(layer.dtype)
        special = SPECIAL[(seed // 2 + number) % len(SPECIAL)]
        flat = x.reshape(len(x), -1) if layer.rows_last else x.reshape(-1, x.shape[-1])
        special_values(rng, flat.T if layer.rows_last else flat, special)
        with np.errstate(all="ignore"):
            stock, allowed = layer.stock(x), _allowed(layer, x)
        for name, run in layer.forms.items():
            with np.errstate(all="ignore"):
                wrong = _wrong(layer, stock, run(x), allowed)
            part.count("cases")
            where = f"seed {seed}, {layer.what}, {name}, {special}"
            part.check(wrong is None, f"{where}: {wrong}; repeat with tests/reliability/forms.py {seed}")


def _allowed(layer: Layer, x: np.ndarray) -> list[np.ndarray]:
    """How far a pruned output may be from the stock one, by what is dropped or read by half; of each layer, flat."""
    rows = (x.T if layer.rows_last else x).astype(np.float64).reshape(-1, layer.dense[0].shape[1])
    distance = np.abs(rows - layer.plan.center)
    moved = np.where(distance <= layer.plan.threshold, distance, 0)
    if layer.plan.whole_threshold is not None:
        half = (distance > layer.plan.threshold) & (distance <= layer.plan.whole_threshold)
        moved = moved + np.where(half, distance, 0)  # the high plane alone is off by less than the weight's range
    epsilon = 2.0**-9 if layer.dtype == np.float16 else 2.0**-18
    known = np.where(np.isfinite(rows), np.abs(rows), 0)
    bounds = []
    for dense in layer.dense:
        size = np.maximum(np.abs(dense), np.ptp(dense, axis=1, keepdims=True))
        bounds.append((moved @ size.T + epsilon * (known + np.abs(layer.plan.center)) @ size.T + 1e-4).reshape(-1))
    return bounds


def _wrong(layer: Layer, stock: list[np.ndarray], found: list[np.ndarray], allowed: list[np.ndarray]) -> str | None:
    """What is wrong, or None.

    1. Finite where stock is, and as near as the thresholds say. 2. NaN or infinite where stock is; with floats, the same one. 3. Where f16
    ends within what the thresholds allow, either may be infinite.
    """
    for number, (a, b, bound) in enumerate(zip(stock, found, allowed, strict=True)):
        before, after = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
        if layer.dtype == np.float16:
            before, after = (_within_f16(one, other, bound) for one, other in ((before, after), (after, before)))
        finite = np.isfinite(before)
        if (finite != np.isfinite(after)).any():
            more, fewer = (finite & ~np.isfinite(after)).sum(), (~finite & np.isfinite(after)).sum()
            return f"y{number}: {more} not finite where stock is, {fewer} finite where it is not"
        off = finite & ~(np.abs(after - before) <= bound)
        if off.any():
            at = int(np.flatnonzero(off)[0])
            return f"y{number}[{at}] is {after[at]:.6g}, stock {before[at]:.6g}, allowed {bound[at]:.3g}; {off.sum()} of {off.size}"
        if layer.floats and not np.array_equal(before[~finite], after[~finite], equal_nan=True):
            return f"y{number}: other NaN or infinite values than stock's"
    return None


def _within_f16(values: np.ndarray, others: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """What the other is in place of an infinity that begins as near to the other as is allowed."""
    with np.errstate(invalid="ignore"):
        near = np.isinf(values) & (np.abs(others - np.copysign(LARGEST_F16, values)) <= bound)
    return np.where(near, others, values)


def _openvino_layer(seed: int) -> Layer:
    rng = np.random.default_rng(seed)
    name = str(rng.choice([name for name in weight_forms.FORMS if "bf16" not in name]))  # the plugin rounds bf16 scales on its own
    k = int(rng.choice(_CHANNELS)) if name in weight_forms.PER_CHANNEL else 256
    sizes = [int(rng.choice(_SIZES)) for _ in range(int(rng.integers(1, 4)))]
    activations = str(rng.choice(["f32", "f32", "f16"]))
    built = one_site([name] * len(sizes), sizes, k, seed=seed, activations=activations)
    (match,) = find_sites(built.model, lm_head=True).matches
    entry, rows = _entry(rng, match.site), str(rng.choice(["decode", "all"]))
    config = SparsityConfig(replace="always", rows=rows, dynamic_quantization=False, lm_head=True)
    plan = SparsityPlan(config, fingerprint(built.model), (match.site,), {entry.site: entry})
    forms = {}
    for form in ("portable", "lowered"):
        forms[form] = _openvino_run(openvino_backend.rewrite(built.model, plan, form, {}), len(sizes))
    shape = (1, int(rng.integers(1, 5)), k)
    floats = match.site.layers[0].weight.dtype in FLOATS
    return Layer(f"{name} K={k} N={sizes} {activations} {_told(entry)} rows {rows}", entry, [each.dense for each in built.weights], shape,
                 np.dtype(weight_forms.WIDTHS[activations]), floats, _openvino_run(built.model, len(sizes)), forms)  # fmt: skip


def _onnx_layer(seed: int) -> Layer:
    rng = np.random.default_rng(seed)
    # MatMulNBits of onnxruntime quantises activations: what it makes of NaN is its own affair, and forms of it are tested elsewhere
    name = str(rng.choice([name for name in onnx_graphs.FORMS if "nbits" not in name]))
    form = onnx_graphs.FORMS[name]()
    opened = onnx_backend.open_model(form.proto)
    sites, _ = onnx_backend.find(opened, SparsityConfig())
    (site,) = sites
    entry = _entry(rng, site)
    plan = SparsityPlan(SparsityConfig(replace="always"), opened.fingerprint, sites, {site.name: entry})
    forms = {}
    for kind in ("portable", "function"):
        forms[f"{kind} in onnxruntime"] = _onnx_run(onnx_backend.rewrite(opened, plan, kind, {}), len(form.weights))
    return Layer(f"ONNX {name} {_told(entry)}", entry, form.weights, form.shape, np.dtype(form.dtype), "int" not in name,
                 _onnx_run(form.proto, len(form.weights)), forms, form.transposed)  # fmt: skip


def _entry(rng: np.random.Generator, site: Site) -> SitePlan:
    """Thresholds of a site, each a number or one per channel; weights of 8 bits are read by half now and then."""
    k = site.in_features

    def drawn(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, k if rng.random() < 0.5 else 1).astype(np.float32)

    threshold = np.full(1, -1, np.float32) if rng.random() < 0.1 else np.full(1, 3e38, np.float32) if rng.random() < 0.1 else drawn(0, 1.2)
    center = np.zeros(1, np.float32) if rng.random() < 0.4 else drawn(-0.3, 0.3)
    whole = None
    if site.two_planes and rng.random() < 0.6:
        whole = np.maximum(threshold, drawn(0.5, 2)).astype(np.float32)
    return SitePlan(site.name, threshold, center, 0.5, None, whole, *((0.2, 0.6) if whole is not None else ()))


def _told(entry: SitePlan) -> str:
    return f"threshold [{entry.threshold.size}]{' by grades' if entry.whole_threshold is not None else ''}"


def _openvino_run(model: ov.Model, count: int) -> Run:
    core = ov.Core()
    register(core)
    compiled = core.compile_model(model, "CPU", EXACT)

    def run(x: np.ndarray) -> list[np.ndarray]:
        results = compiled({"x": x})
        return [np.array(results[f"y{i}"]) for i in range(count)]

    return run


def _onnx_run(proto: object, count: int) -> Run:
    return partial(_outputs, OnnxSession(open_onnx(proto)), count)


def _outputs(session: OnnxSession, count: int, x: np.ndarray) -> list[np.ndarray]:
    values = session.run({"x": x})
    return [values[f"y{i}"] for i in range(count)]


def _main() -> Iterator[str]:
    part = forms(int(sys.argv[1]) if len(sys.argv) > 1 else SEED, 1)
    yield str(part.figures)
    yield from part.failures


if __name__ == "__main__":
    print(*_main(), sep="\n")
