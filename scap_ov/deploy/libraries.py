"""The shared libraries that run a model on a CPU, out of the installed packages: which, of what release, and what they ask of a system."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from importlib.util import find_spec
from pathlib import Path

from scap_ov.errors import MissingDependencyError

# Of the package openvino, without which nothing runs; a star stands for the number in the name.
_NEEDED = ("libopenvino.so.*", "libopenvino_intel_cpu_plugin.so", "libopenvino_ir_frontend.so.*", "libtbb.so.*")
# TBB loads these where they are: its allocator, and what tells performance cores from efficient ones and sockets apart.
_HELPFUL = ("libtbbmalloc.so.*", "libtbbbind_2_5.so.*", "libhwloc.so.*")
_NOTICES = re.compile(r"(LICENSE|NOTICE|third-party-programs)[\w.-]*$|third-party-programs\.txt$")
_SYMBOL = re.compile(rb"(GLIBC|GLIBCXX)_(\d+(?:\.\d+)+)\0")


@dataclass(frozen=True)
class Library:
    """A shared library of an installed package.

    :param path: where it is.
    :param package: distribution that brings it, by its name on an index.
    :param version: of the package.
    """

    path: Path
    package: str
    version: str


def runtime_libraries(*, tokenizers: bool, genai: bool) -> list[Library]:
    """OpenVINO, its CPU plugin, its reader of .xml files, and TBB; the extension library is not among them.

    :param tokenizers: also the ops of openvino_tokenizer.xml.
    :param genai: also openvino-genai, for programs of your own that use it.
    :raises MissingDependencyError: a package is not installed, or does not hold the library.
    """
    found = [_library("openvino", "openvino", f"libs/{name}") for name in _NEEDED]
    root = _root("openvino", "openvino")
    helpful = [path for name in _HELPFUL for path in sorted((root / "libs").glob(name))]
    found += [Library(path, "openvino", version("openvino")) for path in helpful]
    if tokenizers:
        found.append(_library("openvino_tokenizers", "openvino-tokenizers", "lib/libopenvino_tokenizers.so"))
    if genai:
        found.append(_library("openvino_genai", "openvino-genai", "libopenvino_genai.so.*"))
    return found


def notices(package: str) -> list[tuple[str, Path]]:
    """Licences of an installed package: (name below a folder of the package's name, path)."""
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        return []
    kept = [file for file in listed if ".dist-info" in str(file) and _NOTICES.search(file.name)]
    return [(f"{package}/{file.name}", Path(str(file.locate()))) for file in sorted(kept) if Path(str(file.locate())).is_file()]


def system_needs(contents: Iterable[bytes]) -> dict[str, str]:
    """The oldest glibc and libstdc++ that have every symbol: {"GLIBC": "2.17", "GLIBCXX": "3.4.22"}.

    Read from the version names in the contents of programs and libraries; `auditwheel show` and `objdump -T` give the same.
    """
    newest: dict[str, tuple[int, ...]] = {}
    for data in contents:
        for name, number in _SYMBOL.findall(data):
            key, value = name.decode(), tuple(map(int, number.decode().split(".")))
            newest[key] = max(newest.get(key, (0,)), value)
    return {name: ".".join(map(str, value)) for name, value in sorted(newest.items())}


def _root(module: str, package: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        msg = f"a bundle needs the libraries of {package}, which is not installed; pip install {package}, or give --libraries list"
        raise MissingDependencyError(msg)
    return Path(spec.origin).parent


def _library(module: str, package: str, pattern: str) -> Library:
    found = sorted(_root(module, package).glob(pattern))
    if len(found) != 1:
        what = f"has {len(found)} files {pattern}" if found else f"has no {pattern}"
        msg = f"the installed {package} {what}; install its wheel again (pip install --force-reinstall)"
        raise MissingDependencyError(msg)
    return Library(found[0], package, version(package))
