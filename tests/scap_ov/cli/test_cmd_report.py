"""`scap-ov report`: the page from a folder alone, from files of other commands, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_llm import TEXT, letters, small_folder, small_llm

import scap_ov
from scap_ov.calibration.observe import observe
from scap_ov.cli.cmd_report import operating_points
from scap_ov.cli.main import main
from scap_ov.models.dataset import text_dataset

_SPREAD = {"median": 1.0, "min": 1.0, "max": 1.0}
_SPEED = dict.fromkeys(("decode_tokens_per_s", "prefill_tokens_per_s", "ttft_s", "load_s", "peak_rss_bytes"), _SPREAD)
BENCH = {"model": _SPEED, "reference": _SPEED, "decode_speedup": 1.0, "prefill_speedup": 1.0}
EVAL = {"reference_perplexity": 20.0, "top1_agreement": 0.9, "dropped": 0.2, "half": 0.5, "whole": 0.3, "weight_bytes_per_token": 1.0,
        "reference_weight_bytes_per_token": 2.0}  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    model = small_llm("i8")
    profile = observe(model, text_dataset(TEXT, letters, model, seq_len=64, max_tokens=256))
    profile.save(folder / "profile.safetensors")
    config = scap_ov.SparsityConfig(0.4, replace="always")
    scap_ov.save_model(scap_ov.apply(model, profile, config), folder / "sparse")
    small_folder(folder / "stock", "i8")
    (folder / "bench.json").write_text('{"decode_speedup": 1}')
    return folder


def run(*argv: object) -> int:
    return main(["report", *(str(a) for a in argv)])


def test_a_folder_alone_gives_a_page_that_says_what_was_not_measured(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(work / "sparse", "-o", tmp_path / "r.html", "--profile", work / "profile.safetensors", "--png", tmp_path / "png") == 0
    said = capsys.readouterr().out
    assert "Neither speed nor loss was measured" in said
    page = (tmp_path / "r.html").read_text()
    assert "<h1>sparse</h1>" in page
    assert page.count("as calibration expects") == 1 + 8  # the verdict, and each histogram: thresholds are read from the model
    assert page.count("var(--half)") > 8
    assert len(list((tmp_path / "png").iterdir())) == page.count("<svg") == 4 + 8


def test_json_goes_alone_to_standard_output(work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(work / "sparse", "-o", tmp_path / "r.html", "--title", "a & b", "--json", "-") == 0
    shown = json.loads(capfd.readouterr().out)
    assert {key: value for key, value in shown.items() if key != "format_version"} == {
        "report": str(tmp_path / "r.html"),
        "pictures": None,
        "eval": None,
        "bench": None,
    }
    assert "<h1>a &amp; b</h1>" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--measure",), "--measure compares with the stock model; give it as --reference"),
        (("--reference", "stock"), "--reference and --data are for measuring; add --measure, or leave them out"),
        (("--eval", "bench.json"), "has no kl_divergence; give a file that `scap-ov eval --json FILE` wrote"),
        (("--bench", "profile.safetensors"), "give a file that `scap-ov bench --json FILE` wrote"),
        (("--png", "stock"), "holds files; give a new or empty folder, or --overwrite"),
        (("-o", "bench.json"), "bench.json"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    options: tuple[str, str], message: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    assert run("sparse", "-o", tmp_path / "r.html", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


def test_a_stock_model_has_no_report(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(work / "stock", "-o", tmp_path / "r.html") == 2
    assert "is a stock model, so there is nothing to report" in capsys.readouterr().err


def test_levels_and_compared_methods_are_points_of_the_curves() -> None:
    evaluation = {"levels": [{"level": 0.4, "sparsity": 0.41, "kl_divergence": 0.02}]}
    benchmark = {"levels": [{"level": 0.0, "decode_speedup": 1.1}, {"level": 0.4, "decode_speedup": 1.5}]}
    compared = {"points": [{"method": "scap", "sparsity": 0.4, "kl_divergence": 0.3}]}
    assert operating_points(evaluation, benchmark, compared) == [
        {"method": "levels", "level": 0.0, "sparsity": 0.0, "decode_speedup": 1.1},
        {"method": "levels", "level": 0.4, "sparsity": 0.41, "decode_speedup": 1.5, "kl_divergence": 0.02},
        {"method": "scap", "sparsity": 0.4, "kl_divergence": 0.3},
    ]


def test_each_level_of_a_model_is_measured(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads((work / "sparse" / "scap_config.json").read_text())
    record["summary"]["levels"] = [
        {"level": share, "expected_sparsity": share, "dropped": share, "half": 0.0, "whole": 1 - share, "sites": {}} for share in (0.0, 0.4)
    ]
    folder = tmp_path / "levels"
    shutil.copytree(work / "sparse", folder)
    (folder / "scap_config.json").write_text(json.dumps(record))
    asked = []

    def evaluate(model, reference, text, *, level, **options):
        asked.append(level)
        return {**EVAL, "sparsity": level, "kl_divergence": 0.1 * level, "perplexity": 20 + level}

    def benchmark(model, reference, *, levels, **options):
        asked.append(levels)
        return {**BENCH, "levels": [{"level": level, "decode_speedup": 1 + level} for level in levels]}

    monkeypatch.setattr("scap_ov.api.evaluate", evaluate)
    monkeypatch.setattr("scap_ov.api.benchmark", benchmark)
    (tmp_path / "text.txt").write_text(TEXT)
    page, figures = tmp_path / "r.html", tmp_path / "f.json"
    words = ("--measure", "--reference", work / "stock", "--data", tmp_path / "text.txt", "-o", page, "--json", figures)
    assert run(folder, *words) == 0
    assert asked == [0.0, 0.4, [0.0, 0.4]]
    shown = json.loads(figures.read_text())
    assert [row["level"] for row in shown["eval"]["levels"]] == [0.0, 0.4]
    assert shown["eval"]["perplexity"] == 20.4
    assert page.read_text().count("<h3>Speed</h3>") == page.read_text().count("<h3>Loss</h3>") == 1
