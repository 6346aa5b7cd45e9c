"""Kernels against a float64 reference, in the manner of oneDNN's benchdnn: random cases, each from one seed.

python tests/reliability/sweep.py [--seed N] [--cases N] [--implementation NAME]
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.path.insert(0, str(Path(__file__).parent))

from experts_reference import ExpertsOperands, sparse_experts
from kernel_builds import EMULATED, emulated_library
from kernel_library import run, runnable
from random_experts import run as run_experts
from reference import OFFSETS, Operands, sparse_matmul, tolerance
from report import SEED, Part
from sweep_cases import Case, random_case

LARGEST_F16 = 65504.0
_TWO_DIGITS = {"avx512_amx"}  # implementations whose dense activations have one scale a row
_EVERY = 5  # of the cases, one in so many is run with other numbers of threads too


def sweep(first: int, count: int, names: list[str] | None = None) -> Part:
    """Cases of seeds first … first + count - 1 on every implementation that runs here."""
    part = Part("Correctness sweep")
    names = names or runnable()
    for seed in range(first, first + count):
        case = random_case(seed)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            expected, allowed = _expected(case, two_digits=False)
            coarser = _expected(case, two_digits=True)[1] if _TWO_DIGITS & set(names) else allowed
        for name in names:
            y = _run(case, name, case.threads)
            wrong = compare(case, y, expected, coarser if name in _TWO_DIGITS else allowed)
            part.count("cases")
            if isinstance(case.operands, ExpertsOperands):
                part.count("of these with experts")
            elif case.special:
                part.count("of these with special values")
            if seed % _EVERY == 0 and wrong is None and not np.array_equal(_run(case, name, 4 - case.threads), y, equal_nan=True):
                wrong = "other bits with another number of threads"
            part.check(wrong is None, f"{name}: {case}: {wrong}; repeat with tests/reliability/sweep.py --seed {seed} --cases 1")
    part.figures["implementations"] = len(names)
    return part


def emulated(part: Part, first: int, count: int) -> None:
    """The same of the AVX-512 and AMX kernels with every intrinsic emulated, whatever this CPU runs."""
    library = emulated_library()
    if library is None:
        part.figures["cases with emulated AVX-512 (SIMDe is not installed)"] = 0
        return
    before = os.environ.get("SCAP_OV_EXTENSION")
    os.environ["SCAP_OV_EXTENSION"] = str(library)
    try:
        found = sweep(first, count, list(EMULATED))
    finally:
        os.environ.pop("SCAP_OV_EXTENSION") if before is None else os.environ.update(SCAP_OV_EXTENSION=before)
    part.failures += [f"emulated {failure}" for failure in found.failures]
    part.count("of these with emulated AVX-512 and AMX", found.figures["cases"])
    part.count("cases", found.figures["cases"])


def compare(case: Case, y: np.ndarray, expected: np.ndarray, allowed: np.ndarray) -> str | None:
    """What is wrong, or None.

    1. Where float64 is finite and fits, the result is within the bound.
    2. Where float64 is NaN or infinite, so is the result; with float weights and activations it is the same one.
    3. Where the result does not fit into f16, it is infinite or the largest one.
    """
    half = case.operands.x.dtype == np.float16
    fits = np.isfinite(expected) & (np.abs(expected) + allowed < (LARGEST_F16 if half else 3e38))
    with np.errstate(all="ignore"):
        error = np.abs(y.astype(np.float64) - expected)
        off = fits & ~(error <= allowed)
    if off.any():
        row, column = np.argwhere(off)[0]
        bound = f"expected {expected[row, column]:.6g} within {allowed[row, column]:.3g}"
        return f"y[{row}, {column}] is {y[row, column]:.6g}, {bound}; {off.sum()} of {off.size}"
    odd = ~np.isfinite(expected)
    if (odd & np.isfinite(y)).any():
        return f"{(odd & np.isfinite(y)).sum()} finite values where NaN or infinity is due"
    o = case.operands
    if isinstance(o, Operands) and o.weight_type not in OFFSETS and odd.any():
        same = np.isnan(y) == np.isnan(expected)
        same &= np.isnan(expected) | (np.sign(y) == np.sign(expected))
        if not same[odd].all():
            return f"{(~same[odd]).sum()} of {odd.sum()} values have NaN for infinity, or infinity of the other sign"
    return None


def _expected(case: Case, *, two_digits: bool) -> tuple[np.ndarray, np.ndarray]:
    o = case.operands
    if isinstance(o, ExpertsOperands):
        return sparse_experts(o)
    return sparse_matmul(o), tolerance(o, alike=case.special is not None, two_digits=two_digits)


def _run(case: Case, name: str, threads: int) -> np.ndarray:
    o = case.operands
    return run_experts(o, name, threads) if isinstance(o, ExpertsOperands) else run(o, name, threads, misalign=case.misalign)


def main() -> int:
    """Run, print failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--cases", type=int, default=1000, help="seeds; each is run by every implementation")
    parser.add_argument("--implementation", action="append")
    args = parser.parse_args()
    print(f"seeds {args.seed} to {args.seed + args.cases - 1}")
    part = sweep(args.seed, args.cases, args.implementation)
    print(part.figures)
    print(*part.failures, sep="\n")
    return bool(part.failures)


if __name__ == "__main__":
    sys.exit(main())
