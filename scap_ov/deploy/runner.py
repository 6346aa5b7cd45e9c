"""The C++ program that a bundle carries: its source, and how it is compiled here."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scap_ov.custom_ops.build import cmake_build
from scap_ov.errors import BadModelError

PROGRAM = "scap_ov_run"


def runner_source() -> Path:
    """The folder of the source: `deploy/cpp` of an installed package, `examples/cpp` of the repository."""
    here = Path(__file__).parent
    for folder in (here / "cpp", here.parents[1] / "examples" / "cpp"):
        if (folder / "run.cpp").is_file():
            return folder
    msg = "the source of the runner is not installed; install scap_ov again"
    raise BadModelError(msg)


def compile_runner(*, verbose: bool = False) -> bytes:
    """The program, which looks for its libraries in ../lib.

    :raises ExtensionError: there is no compiler, or it does not compile.
    """
    with tempfile.TemporaryDirectory(prefix="scap_ov_build_") as folder:
        options = ("-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON", "-DCMAKE_EXE_LINKER_FLAGS=-s")
        cmake_build(runner_source(), Path(folder), "the runner", *options, verbose=verbose)
        return (Path(folder) / PROGRAM).read_bytes()
