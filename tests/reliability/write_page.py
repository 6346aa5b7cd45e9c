"""docs/reliability.md from what `make reliability` found."""

from __future__ import annotations

import datetime as dt

import openvino as ov
from machine import machine
from report import SEED, Part

_HEAD = """# Reliability

What is tried against the library and the commands, and what came of it. This page is written by `make reliability`; CI runs a short form
of the same, `make reliability-short`.

| part | result | figures | minutes |
|---|---|---|---|
"""
_PARTS = """
## What the parts are

- **Correctness sweep**: in the manner of oneDNN's benchdnn. A case is made from one seed: weight form (all formats, planes and experts
  too), group size, shape (1, primes, tails), rows, sparsity (nothing dropped, a threshold of 0, one channel kept, none kept), centre
  and threshold as a number or per channel, bias, f32 and f16 activations, special values (±0, denormals, infinity, NaN, the largest
  f16). Every implementation that the CPU runs is compared with float64; the bound follows from the formats (`tests/reference.py`). NaN
  and infinity come out where float64 has them; with float weights, the same one. AVX-512 and AMX kernels run with every intrinsic
  emulated (SIMDe) too, whatever the CPU has.
- **Forms against stock**: layers in all weight forms, portable, lowered, and in ONNX, in onnxruntime, on the same special values. NaN
  and infinity come out where the stock layer has them, with float weights the same one; elsewhere the output is as near as the
  thresholds say.
- **libFuzzer over the ops**: attributes, shapes and bytes of any kind for the constructors and `evaluate`, under AddressSanitizer and
  UndefinedBehaviorSanitizer.
- **Damaged files through the commands**: models, profiles, plans, records, configurations, tokenizers and texts with flipped bits,
  cuts, and numbers replaced; drawn by hypothesis. A sentence and exit code 1 or 2, or success; never a crash, a hang (three minutes), a
  traceback, an "unexpected" error, or a file left behind.
- **Kills and full disks**: `apply`, `calibrate`, `merge`, `bundle`, `eval`, `bench` and `generate` end by SIGKILL at steps of the file
  system and at random moments, or find the disk full from some step on. The output is complete or not there; the next run gives what an
  undisturbed run gives, and nothing else is left.
- **Native tests under ASan and UBSan**: another range of the sweep, and the tests of the op. Alignment is not checked: a model file
  may put constants at odd offsets, and x86 reads them.
- **Concurrency under TSan**: requests at once on threads of their own. TBB is replaced by a small pool, for it is not built with the
  sanitizer.
- **Concurrency**: eight requests at once, streams, several compiled models, compilations while others infer, of the stock, pruned and
  portable model; levels switched meanwhile. Bit for bit what one request after the other gives.
- **Memory over decode steps**: the slope of resident memory.

A failure names its seed, and the command that repeats it. What failed once is mended by its kind and has a test beside that code, such as
`tests/scap_ov/storage/test_state_names.py` (a variable without a name), `test_outputs.py` (a folder left by a kill), `tests/native`
(exceptions through C functions) and `tests/passes/openvino/test_half_reads.py` (a form that OpenVINO compiles wrongly). Inputs on which a
fuzzer fails are kept in a folder `found` beside the tests, named after it, and are run first.
"""


def page(found: list[Part], left_out: list[str]) -> str:
    """The page.

    :param left_out: parts that were not asked for.
    """
    lines = []
    for part in found:
        state = f"not run: {part.skipped}" if part.skipped else f"**{len(part.failures)} failures**" if part.failures else "clean"
        figures = ", ".join(f"{value:,g} {what}" for what, value in part.figures.items())
        lines.append(f"| {part.name} | {state} | {figures} | {part.seconds / 60:.1f} |\n")
    date = dt.datetime.now(dt.timezone.utc).date()
    ran_on = f"\nSeed {SEED}; {date}, {machine()}, OpenVINO {ov.__version__.split('-')[0]}.\n"
    missing = f"\nNot run this time: {', '.join(left_out)}.\n" if left_out else ""
    return _HEAD + "".join(lines) + ran_on + missing + _PARTS
