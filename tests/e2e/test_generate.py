"""`scap-ov generate` streams what it reports."""

from __future__ import annotations

import io
import json

from scap_ov.cli.main import main


def generate(folder, tmp_path, *words):
    said = tmp_path / "said.json"
    assert main(["generate", str(folder), *words, "--json", str(said), "--overwrite"]) == 0
    return json.loads(said.read_text())


def test_text_goes_to_standard_output_and_speed_to_standard_error(whole_folder, tmp_path, capsys):
    told = generate(whole_folder, tmp_path, "What is the capital of France?", "--max-new-tokens", "12")
    printed = capsys.readouterr()
    assert "Paris" in told["text"]
    assert printed.out == told["text"] + "\n"
    assert printed.err.startswith(f"{told['tokens']} tokens, ")
    assert 0 < told["tokens"] <= 12
    assert told["decode_tokens_per_s"] > 0


def test_a_prompt_from_standard_input_is_continued_as_it_stands(whole_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Monday, Tuesday, Wednesday,"))
    told = generate(whole_folder, tmp_path, "--raw", "--max-new-tokens", "4", "--backend", "sdpa")
    assert told["text"].startswith(" Thursday")


def test_samples_are_those_of_the_seed(stock_folder, tmp_path):
    words = ["Once upon a time", "--raw", "--sample", "--max-new-tokens", "8", "--seed"]
    one, two, other = (generate(stock_folder, tmp_path, *words, seed)["text"] for seed in ("1", "1", "2"))
    assert one == two != other


def test_what_cannot_be_generated_from_is_one_line(stock_folder, capsys):
    for words, told in (([" "], "the prompt is empty"), (["x", "--backend", "GPU"], "--backend is 'GPU'; give PA or SDPA")):
        assert main(["generate", str(stock_folder), *words]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line
