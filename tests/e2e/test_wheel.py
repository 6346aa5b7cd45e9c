"""A wheel carried elsewhere works without the repository: one tag for all Pythons, sources of the library on board."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import scap_ov

REPOSITORY = Path(__file__).parents[2]

_ELSEWHERE = """
import numpy as np, openvino as ov, scap_ov, sys
from scap_ov.passes.openvino.find_sites import find_sites
assert scap_ov.__file__.startswith(sys.argv[1]), scap_ov.__file__
assert str(scap_ov.extension_path()).startswith(sys.argv[1]), scap_ov.extension_path()
scap_ov.register(ov.Core())
print("registered")
"""


def test_version_is_told_once():
    assert version("scap_ov") == scap_ov.__version__


@pytest.mark.slow
def test_wheel_works_in_another_place(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(REPOSITORY)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"scap_ov-{scap_ov.__version__}-py3-none-linux_")
    names = zipfile.ZipFile(wheel).namelist()
    assert "scap_ov/py.typed" in names
    assert "scap_ov/custom_ops/CMakeLists.txt" in names
    assert "scap_ov/custom_ops/src/extension.cpp" in names
    assert any(name.endswith(".so") for name in names)
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} <= {"scap_ov", f"scap_ov-{scap_ov.__version__}.dist-info"}

    zipfile.ZipFile(wheel).extractall(tmp_path / "elsewhere")
    # -S: no .pth files, so the editable install of this environment is out of the way and only its other packages are seen
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "elsewhere"), sysconfig.get_paths()["purelib"]])}
    command = [sys.executable, "-S", "-c", _ELSEWHERE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.stdout.strip() == "registered", done.stderr
