"""Builds of the whole library with sanitizers, and the fuzzers that are linked with it. Objects are kept in build/reliability."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import openvino as ov
from kernel_builds import of_openvino

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "custom_ops" / "src"
NATIVE = ROOT / "tests" / "native"
KEPT = ROOT / "build" / "reliability"
_WHEEL = Path(ov.__file__).parent
# alignment: a model file may put constants at odd offsets, and x86 reads floats anywhere
SANITIZERS = "address,undefined"
UNDEFINED = ["-fno-sanitize=alignment", "-fno-sanitize-recover=undefined"]
_COMMON = ["-std=c++17", "-fPIC", "-ffp-contract=off", "-g1", "-O1", "-fno-omit-frame-pointer", "-DIMPLEMENT_OPENVINO_EXTENSION_API"]


@dataclass(frozen=True)
class Build:
    """A compiler with its flags."""

    name: str
    compiler: str
    flags: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its objects are."""
        key = hashlib.sha256(repr((self.compiler, self.flags, ov.__version__)).encode()).hexdigest()[:12]
        return KEPT / f"{self.name}-{key}"


def clang() -> str | None:
    """clang++, of whatever release."""
    return next((found for name in ("clang++", *(f"clang++-{n}" for n in range(22, 13, -1))) if (found := shutil.which(name))), None)


def fuzzer_build() -> Build | None:
    """clang with AddressSanitizer, UndefinedBehaviorSanitizer and libFuzzer's counters; None where it, or its libclang-rt, is not there."""
    found = clang()
    if found is not None and not Path(_file_of(found, "libclang_rt.fuzzer-x86_64.a")).is_absolute():
        return None
    flags = (f"-fsanitize={SANITIZERS},fuzzer-no-link", "-shared-libasan", *UNDEFINED, "-Wall", "-Wextra", "-Werror=gnu")
    return None if found is None else Build("clang-asan", found, flags)


def gcc_build() -> Build | None:
    """gcc with AddressSanitizer and UndefinedBehaviorSanitizer, where clang is not there."""
    found = shutil.which("g++")
    return None if found is None else Build("gcc-asan", found, (f"-fsanitize={SANITIZERS}", *UNDEFINED, "-w"))


def runtime(build: Build) -> str:
    """The sanitizer's library."""
    name = "libclang_rt.asan-x86_64.so" if "clang" in build.compiler else "libasan.so"
    return _file_of(build.compiler, name)


def preloaded(build: Build) -> str:
    """What a process loads first: the sanitizer, the library whose exceptions it sees, and before them a dlopen that it takes."""
    own = build.folder / "libdlopen.so"
    source = NATIVE / "sanitize" / "dlopen.cpp"
    subprocess.run([build.compiler, "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", source, "-ldl", "-o", own], check=True)
    return f"{own}:{runtime(build)}:{_file_of(build.compiler, 'libstdc++.so.6')}"


def _file_of(compiler: str, name: str) -> str:
    """Where a compiler has a file of its own; the bare name where it has none."""
    return subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()


def compile_all(build: Build, sources: list[Path], extra: tuple[str, ...] = ()) -> list[Path]:
    """Objects of the sources; those that are newer than every source and header are taken as they are.

    :raises RuntimeError: one does not compile.
    """
    build.folder.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for folder in (SOURCES, NATIVE) for path in folder.rglob("*") if path.is_file())
    launcher = [launcher] if (launcher := os.environ.get("CMAKE_CXX_COMPILER_LAUNCHER")) else []

    def one(source: Path) -> Path:
        target = build.folder / f"{'-'.join(source.relative_to(ROOT).parts)}.o"
        if target.is_file() and target.stat().st_mtime > newest:
            return target
        includes = [f"-I{SOURCES}", f"-I{ROOT / 'custom_ops' / 'include'}", f"-I{NATIVE / 'fuzz'}", "-isystem", f"{_WHEEL / 'include'}"]
        scratch = target.with_suffix(f".{os.getpid()}.o")
        done = subprocess.run([*launcher, build.compiler, *build.flags, *extra, *_COMMON, *includes, "-c", source, "-o", scratch],
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode:
            msg = f"{source}: {done.stderr[-4000:]}"
            raise RuntimeError(msg)
        scratch.replace(target)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, sources))


def library_sources() -> list[Path]:
    """All of the library."""
    return sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("kernels/*/*.cpp")])


def link(build: Build, objects: list[Path], target: Path, *, flags: tuple[str, ...]) -> Path:
    """A library or a program from objects, with OpenVINO's and TBB's libraries of the wheel."""
    libraries = sorted(path for path in (_WHEEL / "libs").iterdir() if path.name.startswith(("libopenvino.so", "libtbb.so")))
    own = [flag for flag in build.flags if "-shared" in flags or flag != "-shared-libasan"]  # a program carries the sanitizers itself
    command = [build.compiler, *own, *flags, *objects, *libraries, f"-Wl,-rpath,{_WHEEL / 'libs'}", "-o", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{target.name} cannot be linked: {done.stderr[-4000:]}"
        raise RuntimeError(msg)
    return target


def sanitized_library(build: Build) -> Path:
    """The extension library with sanitizers."""
    return link(
        build, compile_all(build, library_sources()), build.folder / "libscap_ov_extension.so", flags=("-shared", "-Wl,-z,nodelete")
    )


def fuzzer(build: Build, name: str) -> Path:
    """tests/native/fuzz/<name>.cpp as a program."""
    objects = compile_all(build, [s for s in library_sources() if s.name not in ("extension.cpp", "c_api.cpp")])
    own = compile_all(build, [NATIVE / "fuzz" / f"{name}.cpp"])
    return link(build, [*objects, *own], build.folder / name, flags=("-fsanitize=fuzzer",))


def thread_program(compiler: str) -> Path:
    """tests/native/threads/requests.cpp with ThreadSanitizer, on a pool of its own in place of TBB."""
    stand_in = NATIVE / "threads"
    build = Build("tsan", compiler, ("-fsanitize=thread", "-w", f"-I{stand_in}", "-DSCAP_OV_WITHOUT_AVX_VNNI", "-DSCAP_OV_WITHOUT_AMX"))
    left_out = ("avx_vnni", "avx512_amx")  # they share what the threads do with the others
    sources = [s for s in library_sources() if s.parent.name not in left_out and not of_openvino(s)]
    objects = compile_all(build, [*sources, stand_in / "requests.cpp"])
    target = build.folder / "requests"
    done = subprocess.run([compiler, *build.flags, *objects, "-pthread", "-o", target], capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"requests cannot be linked: {done.stderr[-4000:]}"
        raise RuntimeError(msg)
    return target
