"""`scap-ov build-extension`: where the library goes, and what is said when it does not compile. Its cmake is a script."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from signal_stack import leave_signal_stack

from scap_ov.cli.main import main
from scap_ov.custom_ops import LIBRARY_NAME, build

SOURCES = Path(__file__).parents[3] / "custom_ops"
BUILDS = """#!/bin/sh
case "$1" in
    -S) test -f "$2/CMakeLists.txt" && mkdir -p "$4" ;;
    --build) echo library > "$2/@" ;;
esac
""".replace("@", LIBRARY_NAME)
FAILS = "#!/bin/sh\necho 'gemv.cpp:1: error: no such register' >&2\nexit 2\n"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that puts a cmake in place and gives the folder that the library is installed into."""

    def with_cmake(script):
        cmake = tmp_path / "cmake"
        cmake.write_text(script)
        cmake.chmod(cmake.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(build, "_cmake", lambda: str(cmake))
        monkeypatch.setattr(build, "_library_folder", lambda: tmp_path / "lib")
        return tmp_path / "lib"

    return with_cmake


def test_the_library_is_installed_and_named(installed, tmp_path, capsys):
    folder = installed(BUILDS)
    assert main(["build-extension", "--json", str(tmp_path / "said.json")]) == 0
    assert [path.name for path in folder.iterdir()] == [LIBRARY_NAME]
    assert (folder / LIBRARY_NAME).read_text() == "library\n"
    assert json.loads((tmp_path / "said.json").read_text()) == {"format_version": 1, "library": str(folder / LIBRARY_NAME)}
    assert capsys.readouterr().out.strip().endswith(f"built {folder / LIBRARY_NAME}")


def test_what_does_not_compile_is_told_with_the_compilers_first_error(installed, capsys):
    folder = installed(FAILS)
    assert main(["build-extension"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "compiling the extension library failed: gemv.cpp:1: error: no such register; it needs cmake" in line
    assert not folder.exists()


def test_an_interruption_ends_the_compilers_too(installed, tmp_path, capsys):
    """They were children of cmake, which alone was ended: they went on for minutes, each on a core."""
    pid = tmp_path / "pid"
    folder = installed(f"#!/bin/sh\nsleep 100 &\necho $! > {pid}.part; mv {pid}.part {pid}\nwait\n")

    def interrupt():
        while not pid.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    leave_signal_stack()
    threading.Thread(target=interrupt, daemon=True).start()
    assert main(["build-extension"]) == 128 + signal.SIGTERM
    assert "interrupted" in capsys.readouterr().err
    assert not folder.exists()
    state = Path(f"/proc/{pid.read_text().strip()}/stat")
    for _ in range(500):  # the kernel may take a moment
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    pytest.fail("the compiler is still there")


def test_a_missing_cmake_is_told_with_the_cure(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["build-extension"]) == 1
    assert "cmake is not installed" in capsys.readouterr().err


def test_a_missing_compiler_is_told_before_cmake_runs(installed, monkeypatch, capsys):
    folder = installed(BUILDS)
    monkeypatch.setenv("CXX", "/nowhere/g++ -m64")
    assert main(["build-extension"]) == 1
    assert "CXX names /nowhere/g++ -m64, which is not there; install g++ 11" in capsys.readouterr().err
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert main(["build-extension"]) == 1
    assert "there is no C++ compiler; install g++ 11" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.skipif(not all(map(shutil.which, ("cmake", "make"))), reason="cmake and make are not on the PATH")
def test_pip_without_a_compiler_ends_in_a_sentence_too(tmp_path):
    """`pip install` of the sources runs CMake itself, so the words are in CMakeLists.txt."""
    for tool in ("cmake", "make"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    command = [str(tmp_path / "cmake"), "-G", "Unix Makefiles", "-S", str(SOURCES), "-B", str(tmp_path / "build")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "there is no C++ compiler; install g++ 11" in " ".join(done.stderr.split())
