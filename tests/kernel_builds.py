"""Builds of the kernels without OpenVINO's op around them: with emulated AVX-512, or with sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import openvino as ov
import pytest
from made_once import made_once

_ROOT = Path(__file__).resolve().parent.parent
_SOURCES = _ROOT / "custom_ops" / "src"
_NATIVE = _ROOT / "tests" / "native"
_WHEEL = Path(ov.__file__).parent
EMULATED = ("avx512_vnni", "avx512_zen4", "avx512_amx")
_FLAGS = ["-std=c++17", "-fPIC", "-ffp-contract=off", "-w", f"-I{_SOURCES}", f"-I{_WHEEL / 'include'}"]

# As a compiler that is neither gcc nor clang sees the kernels: registers are structs without operators or casts (docs/adding/isa.md).
_PLAIN = ["-DSCAP_OV_PLAIN_CXX", "-DSIMDE_NO_VECTOR"]


def compiler() -> str:
    """The C++ compiler, or a skipped test."""
    found = shutil.which("g++") or shutil.which("c++")
    if not found:
        pytest.skip("there is no C++ compiler")
    return found


def of_openvino(source: Path) -> bool:
    """Whether a source is about OpenVINO's ops: it includes its headers, itself or through headers of ours."""
    waiting, seen = [source], set()
    while waiting:
        text = waiting.pop().read_text(encoding="utf-8")
        if "#include <openvino/" in text:
            return True
        own = {path for name in re.findall(r'#include "(.+?)"', text) if (path := _SOURCES / name).is_file()}
        waiting += own - seen
        seen |= own
    return False


def plumbing(*, every_feature: bool) -> list[Path]:
    """The sources that all implementations share, without the op and its entry point."""
    sources = [path for path in sorted(_SOURCES.glob("*.cpp")) if not of_openvino(path)]
    if every_feature:
        sources = [path for path in sources if path.name != "cpu_features.cpp"]
    return [*sources, *([_NATIVE / "every_feature.cpp"] if every_feature else [])]


def implementation_source(isa: str) -> Path:
    """kernels/<isa>/implementation.cpp."""
    return _SOURCES / "kernels" / isa / "implementation.cpp"


def emulated_library() -> Path | None:
    """A library whose EMULATED kernels are compiled for the baseline CPU, every intrinsic emulated; None where SIMDe is not installed.

    The target region of these kernels is left out of the copy that is compiled.
    """
    if not any((Path(folder) / "simde/x86/avx512.h").is_file() for folder in ("/usr/include", "/usr/local/include")):
        return None

    def make(folder: Path) -> None:
        sources: dict[Path, list[str]] = {path: [] for path in plumbing(every_feature=True)}
        sources |= {implementation_source(isa): [] for isa in ("avx_vnni", "avx2", "scalar")}
        for isa in EMULATED:
            copy = folder / f"{isa}.cpp"
            lines = implementation_source(isa).read_text().splitlines(keepends=True)
            copy.write_text("".join(line for line in lines if "pragma GCC" not in line))
            sources[copy] = [f"-I{_NATIVE / 'simde'}", *_PLAIN]
        build(sources, folder / "libemulated.so", ["-O1"])

    texts = [path for folder in (_SOURCES, _NATIVE / "simde") for path in sorted(folder.rglob("*")) if path.is_file()]
    return made_once("emulated", [*texts, Path(__file__)], make) / "libemulated.so"


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
