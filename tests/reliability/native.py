"""The library under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer, and libFuzzer over the ops."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from builds import KEPT, ROOT, Build, fuzzer, fuzzer_build, gcc_build, preloaded, sanitized_library, thread_program
from report import SEED, Part

FUZZERS = ("fuzz_sparse_matmul", "fuzz_sparse_experts", "fuzz_sparse_block")
FOUND = Path(__file__).parent / "found"  # inputs that once failed: <fuzzer>-<what>
# OpenVINO itself is built without sanitizers: its strings and vectors are not told apart, and it frees what it keeps at exit
_OPTIONS = "detect_leaks=0:detect_container_overflow=0:allocator_may_return_null=0:handle_segv=1"


def fuzz(seconds: float, names: list[str]) -> Part:
    """libFuzzer over each op, `seconds` in all; the implementations in turn."""
    part = Part("libFuzzer over the ops")
    build = fuzzer_build()
    if build is None:
        part.skipped = "clang is not installed (apt-get install clang)"
        return part
    each = max(1, int(seconds / len(names) / len(FUZZERS)))
    for name in FUZZERS:
        program = fuzzer(build, name)
        corpus = KEPT / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        found = sorted(FOUND.glob(f"{name}-*"))
        for isa in names:
            environment = os.environ | {"SCAP_OV_ISA": isa, "ASAN_OPTIONS": _OPTIONS}
            command = [program, corpus, f"-max_total_time={each}", "-max_len=8192", "-timeout=200", "-rss_limit_mb=4000",
                       f"-seed={SEED}", f"-artifact_prefix={KEPT}/{name}-", "-print_final_stats=1"]  # fmt: skip
            for argv in ([program, *found], command) if found else (command,):
                done = subprocess.run(argv, env=environment, capture_output=True, text=True, errors="replace", check=False)
                part.check(done.returncode == 0, f"{name} on {isa}: {_told(done.stderr)}; the input is kept in {KEPT}")
            part.count("inputs", int((re.findall(r"executed_units: (\d+)", done.stderr) or [0])[-1]))
            part.count("seconds", each)
    return part


def sanitized_sweep(cases: int) -> Part:
    """The sweep of the kernels and the tests of the op, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    part = Part("Native tests under ASan and UBSan")
    build = fuzzer_build() or gcc_build()
    if build is None:
        part.skipped = "there is no C++ compiler"
        return part
    library = sanitized_library(build)
    environment = os.environ | {
        "SCAP_OV_EXTENSION": str(library),
        "LD_PRELOAD": preloaded(build),
        "ASAN_OPTIONS": _OPTIONS + ":verify_asan_link_order=0",
    }
    sweep = [sys.executable, Path(__file__).with_name("sweep.py"), "--seed", str(SEED + 10_000_000), "--cases", str(cases)]
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        "-k",
        "not large_pages",  # that one is about how files are mapped, which the sanitizer changes
        "tests/custom_ops/test_op.py",
        "tests/custom_ops/test_block_op.py",
        "tests/custom_ops/test_block.py",
        "tests/custom_ops/test_row_policy.py",
    ]
    for what, argv in (("sweep", sweep), ("tests", tests)):
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace", check=False)
        part.check(done.returncode == 0, f"{what}: {_told(done.stderr + done.stdout)}")
        for number in re.findall(r"'cases': (\d+)|(\d+) passed", done.stdout):
            part.count("cases" if number[0] else "tests", int(number[0] or number[1]))
    return part


def threads(calls: int) -> Part:
    """Requests at once under ThreadSanitizer, tasks shared out by a pool of std::thread: TBB is not built with the sanitizer."""
    part = Part("Concurrency under TSan")
    compiler = (fuzzer_build() or gcc_build() or Build("", "", ())).compiler
    if not compiler:
        part.skipped = "there is no C++ compiler"
        return part
    program = thread_program(compiler)
    done = subprocess.run([program, str(calls)], capture_output=True, text=True, errors="replace", check=False)
    part.check(done.returncode == 0 and "WARNING" not in done.stderr, f"ThreadSanitizer: {_told(done.stderr + done.stdout)}")
    part.count("calls", int((re.findall(r"(\d+) calls", done.stdout) or [0])[-1]))
    return part


def _told(text: str) -> str:
    telling = re.compile(r"ERROR|CHECK failed|SUMMARY|runtime error|WARNING|sanitizer|assert|FAILED|seed ")
    lines = [line.strip() for line in text.splitlines() if telling.search(line)]
    return " | ".join(lines[:4])[:600] or text.strip()[-300:]
