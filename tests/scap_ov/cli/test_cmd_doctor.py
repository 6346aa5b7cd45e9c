"""`scap-ov doctor`: what it finds, what it advises, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import openvino as ov

from scap_ov.cli.main import main
from scap_ov.custom_ops.library import extension_path, implementation


def findings(told):
    return {finding["what"]: finding for finding in told["findings"]}


def test_a_healthy_installation(tmp_path, capsys):
    assert main(["doctor", "--json", str(tmp_path / "said.json")]) == 0
    told = json.loads((tmp_path / "said.json").read_text())
    assert told["healthy"]
    found = findings(told)
    assert found["extension library"]["found"] == str(extension_path())
    assert found["kernels"]["found"] == implementation()
    assert ov.__version__.startswith(found["openvino"]["found"].partition(".post")[0])
    assert "everything that is needed works" in capsys.readouterr().out


def test_a_library_that_is_not_there_is_a_problem(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SCAP_OV_EXTENSION", str(tmp_path / "lib.so"))
    assert main(["doctor", "--json", str(tmp_path / "said.json")]) == 1
    found = findings(json.loads((tmp_path / "said.json").read_text()))["extension library"]
    assert not found["ok"]
    assert "SCAP_OV_EXTENSION names" in found["advice"]
    assert "PROBLEM" in capsys.readouterr().out


def test_an_instruction_set_that_is_not_known_is_a_problem():
    """In a process of its own: kernels are chosen once."""
    command = [sys.executable, "-Im", "scap_ov.cli.main", "doctor", "--json", "-"]
    done = subprocess.run(command, env={**os.environ, "SCAP_OV_ISA": "mmx"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    kernels = findings(json.loads(done.stdout))["kernels"]
    assert "mmx" in kernels["advice"]
    assert "scalar" in kernels["advice"]


def test_a_package_that_is_missing_names_its_extra(monkeypatch, tmp_path):
    from importlib import metadata

    def version(name):
        if name == "onnx":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    known = metadata.version
    monkeypatch.setattr(metadata, "version", version)
    assert main(["doctor", "--json", str(tmp_path / "said.json")]) == 0
    assert findings(json.loads((tmp_path / "said.json").read_text()))["onnx"]["advice"] == "for ONNX models: pip install 'scap_ov[onnx]'"


def test_a_torchvision_of_another_torch_is_a_problem(monkeypatch, tmp_path):
    """pip takes torchvision with CUDA beside torch without it; optimum-cli then dies in transformers."""
    from importlib import metadata

    known = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.28.0" if name in ("torchvision", "optimum-intel") else known(name))
    broken = tmp_path / "site" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    assert main(["doctor", "--json", str(tmp_path / "said.json")]) == 1
    found = findings(json.loads((tmp_path / "said.json").read_text()))["torchvision"]
    assert not found["ok"]
    assert "pip uninstall torchvision" in found["advice"]
    (broken / "__init__.py").write_text("")
    assert main(["doctor", "--json", str(tmp_path / "later.json")]) == 0
