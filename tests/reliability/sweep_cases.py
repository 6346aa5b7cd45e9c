"""Random cases of the kernels' sweep: everything about a case follows from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from experts_reference import ExpertsOperands
from random_experts import random_experts
from random_operands import random_operands
from reference import Operands

from scap_ov.custom_ops.formats import WEIGHT_TYPES
from scap_ov.passes.openvino.experts_op import ACTIVATIONS

# 1, primes, the ends of quads, vectors, blocks of 64 and activation groups, and what lies beside them
CHANNELS = (1, 2, 3, 4, 5, 7, 13, 31, 32, 33, 61, 64, 65, 96, 97, 127, 128, 129, 191, 200, 256, 257, 383, 389, 512)
OUTPUTS = (1, 2, 3, 15, 16, 17, 31, 63, 64, 65, 97, 127, 128, 129, 192, 193)
ROWS = (1, 1, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 23, 33)
GROUPS = (None, None, 4, 16, 32, 64, 96, 128, 256)
SPECIAL = ("zeros", "denormals", "nan", "infinity", "largest f16", "all alike", "mixed")


@dataclass
class Case:
    """One op, how it is called, and what is unusual about it."""

    seed: int
    operands: Operands | ExpertsOperands
    threads: int
    misalign: int
    special: str | None
    sparsity: str

    def __str__(self) -> str:
        o = self.operands
        if isinstance(o, ExpertsOperands):
            what = f"experts {o.up[0].weight_type} {o.x.shape[0]} tokens {o.gate_up} {o.activation}"
        else:
            planes = "" if o.step is None else f" planes by {o.step_group}"
            what = f"{o.weight_type}{planes} K={o.x.shape[1]} N={o.output_sizes} M={len(o.x)} group {o.group_size}"
        return f"seed {self.seed}: {what} {o.x.dtype} sparsity {self.sparsity} special {self.special}"


def random_case(seed: int) -> Case:
    """The case of a seed."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.12:
        return Case(seed, _experts(rng, seed), int(rng.integers(1, 4)), 0, None, "random")
    sparsity = str(rng.choice(["random", "random", "none dropped", "zero threshold", "one kept", "none kept"]))
    o = _matmul(rng, seed, sparsity)
    special = str(rng.choice(SPECIAL)) if rng.random() < 0.3 else None
    if special:
        special_values(rng, o.x, special)
    _set_threshold(rng, o, sparsity)
    return Case(seed, o, int(rng.integers(1, 4)), int(rng.choice([0, 0, 1, 4, 60])), special, sparsity)


def _matmul(rng: np.random.Generator, seed: int, sparsity: str) -> Operands:
    k = int(rng.choice(CHANNELS)) if rng.random() < 0.8 else int(rng.integers(1, 600))
    sizes = [int(rng.choice(OUTPUTS)) for _ in range(int(rng.choice([1, 1, 2, 3])))]
    weight_type = str(rng.choice([*WEIGHT_TYPES, "planes", "planes"]))
    graded: dict[str, Any] = {}
    group = GROUPS[int(rng.integers(len(GROUPS)))]
    if weight_type == "planes":
        weight_type = str(rng.choice(["u8", "i8"]))
        step = int(rng.choice([4, 16, 32, 64, 128]))
        group = (None, step, 2 * step)[int(rng.integers(3))]
        graded = {"step_group": step, "half": None if rng.random() < 0.2 else float(rng.random())}
    o = random_operands(
        k, sizes, weight_type, m=int(rng.choice(ROWS)), group_size=group, sparsity=float(rng.random()), seed=seed,
        zero_point=bool(rng.random() < 0.5), scale_dtype=(np.float16, np.float32)[int(rng.integers(2))],
        x_dtype=(np.float16, np.float32)[int(rng.integers(2))], added=True, per_channel=bool(rng.random() < 0.5),
        rows=("decode", "all")[int(rng.integers(2))], max_sparse_rows=int(rng.integers(1, 20)), positions=int(rng.integers(1, 4)),
        dynamic_quantization=bool(rng.random() < 0.6), ramp=float(rng.choice([0.0, 0.0, 0.0, 0.25, 1.0])) if not graded else 0.0, **graded,
    )  # fmt: skip
    if rng.random() < 0.5:
        o.base = None
    if rng.random() < 0.5:
        o.compensation = None
    if rng.random() < 0.5:  # centre and threshold: each a number or one per channel, whatever the other is
        o.center = o.center[:1].copy() if rng.random() < 0.5 else np.resize(o.center, k)
    return o


def _set_threshold(rng: np.random.Generator, o: Operands, sparsity: str) -> None:
    k = o.x.shape[1]
    if sparsity == "none dropped":
        o.threshold = np.full(1, -1, np.float32)
    elif sparsity == "zero threshold":
        o.threshold = np.zeros(1, np.float32)
    elif sparsity == "none kept":
        o.threshold = np.full(1, 3e38, np.float32)
    elif sparsity == "one kept":
        o.threshold = np.full(k, 3e38, np.float32)
        o.threshold[int(rng.integers(k))] = -1
    if o.threshold.size == 1 and rng.random() < 0.3:
        o.threshold = np.resize(o.threshold, k)
    if o.whole_threshold is not None:
        if sparsity == "one kept":
            o.whole_threshold = np.full(k, (-1, 3e38)[int(rng.integers(2))], np.float32)
        else:  # what is read whole is above the threshold too
            o.whole_threshold = np.maximum(o.whole_threshold, o.threshold).astype(np.float32)


def special_values(rng: np.random.Generator, x: np.ndarray, special: str) -> None:
    """Put some of the kind `special`, of SPECIAL, into x, [M, K]."""
    chosen = rng.random(x.shape) < min(1.0, 3 / x.shape[1])
    values = {
        "zeros": (0.0, -0.0), "denormals": (1e-40, -1e-40, 6e-8, -6e-8), "nan": (np.nan,), "infinity": (np.inf, -np.inf),
        "largest f16": (65504.0, -65504.0), "all alike": (0.5,), "mixed": (0.0, -0.0, 1e-40, 65504.0, np.nan, np.inf, -np.inf),
    }[special]  # fmt: skip
    if special in ("zeros", "denormals", "all alike"):
        chosen = rng.random(x.shape) < 0.5 if special != "all alike" else np.ones(x.shape, bool)
    elif rng.random() < 0.5:
        chosen[rng.integers(len(x))] = False  # a row without, beside others with
    x[chosen] = rng.choice(np.array(values), int(chosen.sum())).astype(x.dtype)


def _experts(rng: np.random.Generator, seed: int) -> ExpertsOperands:
    weight_type = str(rng.choice([*WEIGHT_TYPES, "planes"]))
    graded = {"step_group": 16} if weight_type == "planes" else {}
    return random_experts(
        "i8" if graded else weight_type, tokens=int(rng.choice([0, 1, 1, 2, 5, 19])), experts=int(rng.integers(2, 6)),
        choices=int(rng.integers(1, 3)), k=int(rng.choice([1, 31, 64, 97, 128])), hidden=int(rng.choice([1, 13, 64, 65])),
        n=int(rng.choice([1, 17, 64, 80])), group_size=(None, 32)[int(rng.integers(2))],
        sparsity=(None, 0.3, 0.5)[int(rng.integers(3))], seed=seed, bias=bool(rng.random() < 0.5),
        x_dtype=(np.float16, np.float32)[int(rng.integers(2))], gate_up=("halves", "interleaved")[int(rng.integers(2))],
        activation=str(rng.choice(ACTIVATIONS)), alpha=1.5, limit=3.0, rows=("decode", "all")[int(rng.integers(2))],
        dynamic_quantization=bool(rng.random() < 0.5), **graded,
    )  # fmt: skip
