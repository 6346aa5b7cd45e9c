"""Commands about levels: inspect lists them, generate runs with one, eval and bench set them side by side."""

from __future__ import annotations

import json

import pytest
from pipeline_folders import language_models

from scap_ov.cli.main import main

pytestmark = pytest.mark.slow  # tokenizers of the models are made with transformers

TEXT = " ".join(f"w{i * 37 % 90 + 3}" for i in range(40))


@pytest.fixture(scope="module")
def folders():
    pytest.importorskip("openvino_genai")
    pytest.importorskip("openvino_tokenizers")
    return language_models()


@pytest.fixture
def figures_of(tmp_path):
    """What a command writes with --json."""

    def figures(*words):
        assert main([*map(str, words), "--json", str(tmp_path / "figures.json"), "--overwrite"]) == 0
        return json.loads((tmp_path / "figures.json").read_text())

    return figures


def test_inspect_lists_the_levels(folders, figures_of) -> None:
    found = figures_of("inspect", folders / "levels")
    assert [each["level"] for each in found["levels"]] == [0, 0.25, 0.5]
    assert found["start_level"] == 0.5
    assert found["levels"][0]["expected_sparsity"] == 0 < found["levels"][1]["expected_sparsity"] < found["levels"][2]["expected_sparsity"]


def test_generate_runs_with_a_level(folders, figures_of) -> None:
    words = ("generate", folders / "levels", "w5 w17 w9 w33", "--raw", "--max-new-tokens", 8)
    dense, half = (figures_of(*words, "--level", level)["text"] for level in (0, 0.5))
    assert dense == figures_of("generate", folders / "stock", *words[2:])["text"]
    assert dense != half


def test_eval_sets_levels_side_by_side(folders, figures_of, tmp_path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    data = ("--reference", folders / "stock", "--data", tmp_path / "text.txt", "--window", 64)
    levels = figures_of("eval", folders / "levels", *data, "--levels", "all")["levels"]
    assert [each["level"] for each in levels] == [0, 0.25, 0.5]
    assert [each["sparsity"] == 0 for each in levels] == [True, False, False]
    losses = [each["kl_divergence"] for each in levels]
    assert losses[0] < 1e-3 * losses[1] < losses[2]


@pytest.mark.slow  # starts processes for load time and memory
def test_bench_sets_levels_side_by_side(folders, figures_of) -> None:
    words = ("--reference", folders / "stock", "--levels", "0,0.5", "--loads", 1, "--repeats", 1, "--new-tokens", 2, "--prompt-tokens", 4)
    found = figures_of("bench", folders / "levels", *words)
    assert [each["level"] for each in found["levels"]] == [0, 0.5]
    assert all(each["decode_speedup"] > 0 for each in found["levels"])


@pytest.mark.parametrize(("words", "sentence"), [
    (("eval", "levels", "--levels", "0.3", "--data", "-"), "level 0.3 is not in the model; it has 0, 0.25, 0.5"),
    (("eval", "stock", "--levels", "all", "--data", "-"), "has no levels; apply it with --levels"),
    (("eval", "levels", "--levels", "much", "--data", "-"), "levels are 'much'; give shares such as"),
    (("bench", "levels", "--levels", "0.3"), "level 0.3 is not in the model; it has 0, 0.25, 0.5"),
])  # fmt: skip
def test_levels_that_are_not_there_are_refused(folders, capsys, words, sentence) -> None:
    command, folder, *rest = words
    assert main([command, str(folders / folder), "--reference", str(folders / "stock"), *rest]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_generate_refuses_a_level_that_is_not_there(folders, capsys) -> None:
    assert main(["generate", str(folders / "levels"), "w5", "--raw", "--level", "0.3"]) == 2
    assert "level 0.3 is not in the model 'levels'" in " ".join(capsys.readouterr().err.split())
