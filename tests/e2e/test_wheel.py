"""A wheel of the source distribution works without the repository: one tag for all Pythons, sources of the library on board."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import scap_ov

REPOSITORY = Path(__file__).parents[2]

_SDIST = "import sys; from scikit_build_core.build import build_sdist; print(build_sdist(sys.argv[1]))"
_ELSEWHERE = """
import numpy as np, openvino as ov, scap_ov, sys
from scap_ov.passes.openvino.find_sites import find_sites
assert scap_ov.__file__.startswith(sys.argv[1]), scap_ov.__file__
assert str(scap_ov.extension_path()).startswith(sys.argv[1]), scap_ov.extension_path()
scap_ov.register(ov.Core())
from scap_ov.deploy.runner import runner_source
assert str(runner_source()).startswith(sys.argv[1]), runner_source()
print("registered")
"""


def test_version_is_told_once():
    assert version("scap_ov") == scap_ov.__version__


@pytest.mark.slow  # compiles the library
def test_a_wheel_of_the_source_distribution_works_in_another_place(tmp_path):
    sdist = run([sys.executable, "-c", _SDIST, str(tmp_path)], cwd=REPOSITORY).stdout.splitlines()[-1]
    with tarfile.open(tmp_path / sdist) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    assert {"pyproject.toml", "custom_ops/CMakeLists.txt", "examples/cpp/run.cpp", "scap_ov/__init__.py"} <= held
    assert not [name for name in held if name.startswith(("notebooks/", "benchmarks/", "build/", ".venv"))]

    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path),
         str(tmp_path / sdist)])  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"scap_ov-{scap_ov.__version__}-py3-none-linux_")
    names = zipfile.ZipFile(wheel).namelist()
    assert "scap_ov/py.typed" in names
    assert "scap_ov/custom_ops/CMakeLists.txt" in names
    assert "scap_ov/custom_ops/src/extension.cpp" in names
    assert "scap_ov/deploy/cpp/run.cpp" in names
    assert any(name.endswith(".so") for name in names)
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} <= {"scap_ov", f"scap_ov-{scap_ov.__version__}.dist-info"}
    # What `make wheel` turns into a tag that an index takes: nothing of this machine but versioned symbols of the C and C++ libraries.
    told = " ".join(run([sys.executable, "-m", "auditwheel", "show", str(wheel)]).stdout.split())
    assert re.search(r"constrains the platform tag to \"manylinux_2_\d+_x86_64\"", told), told

    zipfile.ZipFile(wheel).extractall(tmp_path / "elsewhere")
    # -S: no .pth files, so the editable install of this environment is out of the way and only its other packages are seen
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "elsewhere"), sysconfig.get_paths()["purelib"]])}
    command = [sys.executable, "-S", "-c", _ELSEWHERE, str(tmp_path)]
    assert run(command, cwd=tmp_path, env=environment).stdout.strip() == "registered"


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
