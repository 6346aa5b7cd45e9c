"""A C program without Python turns the dial, and computes at each level what Python does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from level_models import K, levels_model

import scap_ov
from scap_ov import custom_ops
from scap_ov.custom_ops import library_path

SOURCE = Path(__file__).with_name("turn_dial.c")
LIBRARIES = Path(ov.__file__).parent / "libs"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_c_program_chooses_levels(tmp_path):
    _, _, model = levels_model()
    scap_ov.save_model(model, tmp_path / "sparse")
    (c_library,) = LIBRARIES.glob("libopenvino_c.so.*")
    headers, own = Path(ov.__file__).parent / "include", library_path()
    places = f"-Wl,-rpath,{own.parent}:{LIBRARIES}"
    command = ["cc", "-std=c11", "-Wall", "-Werror", str(SOURCE), "-I", str(custom_ops.include_path()), "-isystem", str(headers), str(own),
               str(c_library), places, f"-Wl,-rpath-link,{LIBRARIES}", "-o", str(tmp_path / "turn")]  # fmt: skip
    subprocess.run(command, check=True)
    xml = tmp_path / "sparse" / "openvino_model.xml"
    words = [str(tmp_path / "turn"), str(xml), str(library_path()), "0", "0.3", "0.25", "0.5"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    nothing, name, levels, dense, refused, *others = done.stdout.splitlines()
    assert nothing == "no model with levels is loaded; open one first, or set SCAP_OV_LEVEL"
    assert (name, levels) == ("sparse", "0 0.25 0.5")
    assert refused == "level 0.3 is not in the model 'sparse'; it has 0, 0.25, 0.5"
    core = ov.Core()
    scap_ov.register(core)
    compiled = core.compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = ((np.arange(K) % 7 - 3) / 3).astype(np.float32).reshape(1, 1, K)
    for level, line in zip((0, 0.25, 0.5), (dense, *others), strict=True):
        shown, _, values = line.partition(":")
        assert float(shown) == level
        scap_ov.set_level(level, "sparse")
        assert np.allclose([float(v) for v in values.split()], compiled(x)[0].reshape(-1), rtol=1e-6, atol=0)
