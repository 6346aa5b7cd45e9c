"""`scap-ov compare`: a point for each method and sparsity, as JSON, table and page."""

from __future__ import annotations

import json

import pytest
from small_llm import TEXT, letters, small_folder

from scap_ov.calibration.observe import observe
from scap_ov.cli.main import main
from scap_ov.models.dataset import text_dataset
from scap_ov.storage.model_folder import read_model


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = small_folder(tmp_path_factory.mktemp("compare") / "stock")
    model = read_model(folder)
    observe(model, text_dataset(TEXT, letters, model, seq_len=64, max_tokens=512)).save(folder.with_name("profile.safetensors"))
    folder.with_name("text.txt").write_text(TEXT)
    return folder


@pytest.fixture
def compare(stock, monkeypatch):
    monkeypatch.setattr("scap_ov.models.dataset.load_tokenizer", lambda folder: letters)
    monkeypatch.setattr("scap_ov.models.tokenizer.load_tokenizer", lambda folder: letters)

    def run(*words):
        data = ["--profile", stock.with_name("profile.safetensors"), "--eval-data", stock.with_name("text.txt"), "--eval-tokens", 128]
        return main([str(word) for word in ("compare", stock, *data, *words)])

    return run


def test_every_combination_is_measured_and_shown(compare, stock, tmp_path, capsys):
    page, said = tmp_path / "page.html", tmp_path / "said.json"
    assert compare("--methods", "scap,wina", "--sparsities", "0.2,0.6", "--dense", stock, "--html", page, "--json", said) == 0
    points = json.loads(said.read_text())["points"]
    found = [(p["method"], p["target_sparsity"]) for p in points]
    assert found == [("scap", 0.2), ("scap", 0.6), ("wina", 0.2), ("wina", 0.6), ("dense stock", 0.0)]
    few, many = points[:2]
    assert 0 < few["kl_divergence"] < many["kl_divergence"]
    assert few["weight_bytes_per_token"] > many["weight_bytes_per_token"]
    assert points[-1]["kl_divergence"] == pytest.approx(0, abs=1e-6)
    assert all("sites" not in point for point in points)
    assert page.read_text().count("<svg ") == 2
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("scap", "wina", "dense stock"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sparsities", "half"), "--sparsities is 'half'; give shares such as 0.25,0.4,0.5"),
        (("--methods", "tael"), "method is 'tael'; did you mean 'teal'?"),
        (("--dense", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_work(compare, capsys, words, told):
    assert compare(*words) in (1, 2)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
