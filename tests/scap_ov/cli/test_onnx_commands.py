"""The commands on .onnx files: calibrate, apply, inspect, validate, one after the other."""

from __future__ import annotations

import json

import onnx
import pytest
from small_onnx import small_decoder

from scap_ov.cli.main import main

TEXT = "A dog ran over the hill. It saw a cat, and the cat saw it; neither of them knew what to do next! " * 8


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a decoder, and a tokenizer of letters."""
    monkeypatch.setattr("scap_ov.models.dataset.load_tokenizer", lambda folder: lambda text: [ord(c) % 128 for c in text])
    source = tmp_path / "stock"
    source.mkdir()
    onnx.save(small_decoder(), source / "model.onnx")
    (source / "config.json").write_text("{}")
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("form", ["portable", "function", "lowered"])
def test_from_calibration_to_validation(folder, form):
    stock, profile, out = folder / "stock" / "model.onnx", folder / "profile.safetensors", folder / "out"
    assert run("calibrate", stock, "--data", folder / "text.txt", "--tokens", 256, "--window", 32, "--output", profile) == 0
    assert run("apply", stock, "--profile", profile, "--target-sparsity", 0.3, "--form", form, "--output", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.onnx", "scap_config.json"]
    onnx.checker.check_model(onnx.load(out / "model.onnx"))
    assert run("inspect", out / "model.onnx", "--json", folder / "inspect.json") == 0
    summary = json.loads((folder / "inspect.json").read_text())
    assert summary["form"] == ("function" if form == "function" else "portable")
    assert summary["expected_sparsity"] == pytest.approx(0.3, abs=0.05)
    assert run("validate", out / "model.onnx", out / "model.onnx") == 0
    assert run("validate", stock, out / "model.onnx") == 1


def test_inspecting_a_stock_file(folder, capsys):
    assert run("inspect", folder / "stock" / "model.onnx") == 0
    printed = capsys.readouterr().out
    assert "block.1.down" in printed
    assert "9 sites" in printed


def test_one_sentence_for_a_bad_form_and_a_bad_file(folder, capsys):
    stock = folder / "stock" / "model.onnx"
    assert run("apply", stock, "--data", folder / "text.txt", "--form", "box", "--output", folder / "out") == 2
    (folder / "bad.onnx").write_text("nothing")
    assert run("apply", folder / "bad.onnx", "--data", folder / "text.txt", "--output", folder / "out") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert lines[0] == "scap-ov: error: form is 'box'; give one of lowered, portable, function"
    assert "bad.onnx is not an ONNX file" in lines[1]
    assert not (folder / "out").exists()
