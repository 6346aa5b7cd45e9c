"""The public names are frozen, all seventeen."""

from __future__ import annotations

import subprocess
import sys

import pytest

import scap_ov

NAMES = {"apply", "calibrate", "fit", "evaluate", "benchmark", "save_model", "register", "extension_path", "register_genai",
         "open_pipeline", "set_level", "level", "CalibrationProfile", "SparsityPlan", "SparsityConfig", "errors",
         "__version__"}  # fmt: skip


def test_seventeen_names_and_no_more() -> None:
    assert len(NAMES) == 17
    assert set(scap_ov.__all__) == NAMES
    assert set(dir(scap_ov)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_there(name: str) -> None:
    assert getattr(scap_ov, name) is not None


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="public names: apply, calibrate"):
        scap_ov.aply  # noqa: B018


def test_importing_loads_neither_openvino_nor_nncf_nor_torch() -> None:
    code = "import sys, scap_ov; print([m for m in ('openvino', 'nncf', 'torch', 'numpy', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-Ic", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
