"""Builds of the kernels without OpenVINO's op around them: with emulated AVX-512, or with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import openvino as ov
import pytest

_ROOT = Path(__file__).resolve().parent.parent
_SOURCES = _ROOT / "custom_ops" / "src"
_NATIVE = _ROOT / "tests" / "native"
_WHEEL = Path(ov.__file__).parent
_FLAGS = ["-std=c++17", "-fPIC", "-ffp-contract=off", "-w", f"-I{_SOURCES}", f"-I{_WHEEL / 'include'}"]


def compiler() -> str:
    """The C++ compiler, or a skipped test."""
    found = shutil.which("g++") or shutil.which("c++")
    if not found:
        pytest.skip("there is no C++ compiler")
    return found


def plumbing(*, every_feature: bool) -> list[Path]:
    """The sources that all implementations share, without the op and its entry point."""
    left_out = {"extension.cpp", "levels.cpp", "sparse_matmul.cpp", "sparse_experts.cpp", *(["cpu_features.cpp"] if every_feature else [])}
    sources = [path for path in sorted(_SOURCES.glob("*.cpp")) if path.name not in left_out]
    return [*sources, *([_NATIVE / "every_feature.cpp"] if every_feature else [])]


def implementation_source(isa: str) -> Path:
    """kernels/<isa>/implementation.cpp."""
    return _SOURCES / "kernels" / isa / "implementation.cpp"


def build(sources: dict[Path, list[str]], library: Path, flags: list[str]) -> Path:
    """Compile each source with its own flags, all at the same time, and link them into a library with the C entry points."""
    objects, running = [], []
    for number, (source, own) in enumerate(sources.items()):
        target = library.parent / f"{number}.o"
        running.append(subprocess.Popen([compiler(), *flags, *own, *_FLAGS, "-c", source, "-o", target], stderr=subprocess.PIPE))
        objects.append(target)
    for process, source in zip(running, sources, strict=True):
        errors = process.communicate()[1]
        assert process.returncode == 0, f"{source}: {errors.decode()[-4000:]}"
    tbb = next(path for path in sorted((_WHEEL / "libs").iterdir()) if path.name.startswith("libtbb.so"))
    subprocess.run([compiler(), "-shared", *flags, *objects, tbb, f"-Wl,-rpath,{tbb.parent}", "-o", library], check=True)
    return library
