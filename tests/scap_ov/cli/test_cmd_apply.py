"""What `apply` says about the folder that it writes."""

from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
import tiny_models as tiny
from openvino import opset13 as ops

import scap_ov
from scap_ov.cli.main import main

K = 256


def test_weights_that_are_packed_several_times_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks with copies of one weight, as of ALBERT: the stock file holds it once."""
    weight = np.random.default_rng(0).standard_normal((K, K)).astype(np.float32) / 16
    x = tiny.parameter("x", [-1, -1, K], np.float32)
    value = x
    for _ in range(3):
        value = ops.relu(ops.matmul(value, ops.constant(weight.copy()), False, True))
    model = ov.Model([tiny.named(value, "hidden")], [x], "m")
    ov.save_model(model, tmp_path / "stock.xml", compress_to_fp16=False)
    assert (tmp_path / "stock.bin").stat().st_size < 2 * weight.nbytes
    samples = [np.random.default_rng(i).standard_normal((1, 8, K)).astype(np.float32) for i in range(2)]
    scap_ov.calibrate(model, nncf.Dataset(samples, lambda a: {"x": a})).save(tmp_path / "profile")
    words = [str(tmp_path / "stock.xml"), str(tmp_path / "sparse"), "--profile", str(tmp_path / "profile"), "--replace", "always"]
    assert main(["apply", *words, "--method", "adaptive"]) == 0
    assert "its weights take 0.8 MB, those of the stock model 0.3 MB" in capsys.readouterr().out
