"""Compile the extension library against the installed OpenVINO, for `scap-ov build-extension`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from scap_ov.custom_ops import LIBRARY_NAME
from scap_ov.errors import ExtensionError

C_HEADER = Path(__file__).parent / "include" / "scap_ov.h"  # the dial, for programs in C and C++


def build_extension(*, verbose: bool = False, destination: str | Path | None = None) -> Path:
    """Compile the bundled sources and put the library where `library_path` looks.

    :param verbose: let the compiler's output through.
    :param destination: folder for the library instead.
    :return: path of the library.
    :raises ExtensionError: a tool is missing, or it does not compile.
    """
    root = Path(str(files("scap_ov.custom_ops").joinpath("CMakeLists.txt"))).parent
    folder = Path(destination) if destination is not None else _library_folder()
    with tempfile.TemporaryDirectory(prefix="scap_ov_build_") as build:
        cmake_build(root, Path(build), "the extension library", verbose=verbose)
        found = sorted(Path(build).rglob(LIBRARY_NAME))
        if not found:
            msg = f"the build ended without {LIBRARY_NAME}; run `scap-ov build-extension --verbose` and read its output"
            raise ExtensionError(msg)
        return _install(found[0], folder)


def cmake_build(source: Path, build: Path, what: str, *options: str, verbose: bool = False) -> None:
    """Configure and build a CMake project against the installed OpenVINO.

    :param what: that is built, for messages.
    :param options: more `-DNAME=VALUE`.
    :raises ExtensionError: a tool is missing, or it does not compile.
    """
    from openvino.utils import get_cmake_path

    cmake = _cmake()
    _check_compiler()
    folder = get_cmake_path()
    given = [f"-DOpenVINO_DIR={folder}", f"-DTBB_DIR={folder}", "-DCMAKE_BUILD_TYPE=Release", *options]
    _run([cmake, "-S", str(source), "-B", str(build), *given], what, verbose=verbose)
    _run([cmake, "--build", str(build), "--config", "Release", "--parallel"], what, verbose=verbose)


def _library_folder() -> Path:
    """The folder `lib` of the installed package: an existing one, else beside the package's first location that can be written."""
    from scap_ov import custom_ops

    folders = [Path(place) / "lib" for place in custom_ops.__path__]
    return next((folder for folder in folders if (folder / LIBRARY_NAME).is_file()), folders[0])


def _install(library: Path, folder: Path) -> Path:
    """Put the library in place by renaming: a process that has the old one mapped keeps it."""
    target = folder / LIBRARY_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{LIBRARY_NAME}.{os.getpid()}"
        try:
            shutil.copyfile(library, scratch)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as e:
        msg = f"the library cannot be written to {folder} ({e.strerror}); make the folder writable or install scap_ov in a venv of yours"
        raise ExtensionError(msg) from e
    return target


def _cmake() -> str:
    """CMake of this environment's `cmake` package, else of the PATH."""
    beside = Path(sys.executable).with_name("cmake")
    found = str(beside) if beside.is_file() else shutil.which("cmake")
    if found is None:
        hint = "" if importlib.util.find_spec("cmake") is None else " (its command is not beside this Python)"
        msg = f"cmake is not installed{hint}; pip install cmake ninja, and have a C++17 compiler"
        raise ExtensionError(msg)
    return found


def _check_compiler() -> None:
    """CMake's own words for a missing compiler are many, and name none that would do."""
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([named.split()[0]] if named else ["c++", "g++", "clang++"])):
        where = f"CXX names {named}, which is not there" if named else "there is no C++ compiler"
        msg = f"{where}; install g++ 11 or clang 12, or newer (apt install g++, or dnf install gcc-c++), and run this again"
        raise ExtensionError(msg)


def _run(command: list[str], what: str, *, verbose: bool) -> None:
    stream = None if verbose else subprocess.PIPE
    # A session of its own: the compilers that the build tool has started end with it, whatever ends us.
    with subprocess.Popen(command, stdout=stream, stderr=stream, text=True, start_new_session=True) as build:
        try:
            told = build.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(build.pid, signal.SIGKILL)
            raise
    if build.returncode:
        lines = [] if verbose else [line for part in told for line in part.splitlines() if "error" in line.lower()]
        reason = f": {lines[0].strip()}" if lines else ""
        msg = f"compiling {what} failed{reason}; it needs cmake and a C++17 compiler, --verbose shows the whole output"
        raise ExtensionError(msg)
