"""`scap-ov eval`: every file of questions has its own result, whatever it is called."""

from __future__ import annotations

import json

import pytest
from small_llm import letters, small_folder

from scap_ov.cli.main import main


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return small_folder(tmp_path_factory.mktemp("eval") / "stock")


def test_two_files_of_one_name_have_two_results(stock, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("scap_ov.models.tokenizer.load_tokenizer", lambda folder: letters)
    for folder in ("a", "b[v]"):
        (tmp_path / folder).mkdir()
    questions = [{"context": "a b", "continuation": " c"}] * 3
    (tmp_path / "a" / "q.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (tmp_path / "b[v]" / "q.jsonl").write_text(json.dumps({"query": "a b", "choices": ["c", "d"], "gold": 0}))
    (tmp_path / "other.jsonl").write_text(json.dumps(questions[0]))
    files = [tmp_path / "a" / "q.jsonl", tmp_path / "b[v]" / "q.jsonl", tmp_path / "other.jsonl"]
    words = [word for file in files for word in ("--tasks", str(file))]
    assert main(["eval", str(stock), "--reference", str(stock), *words, "--json", str(tmp_path / "f.json")]) == 0
    found = json.loads((tmp_path / "f.json").read_text())["tasks"]
    assert {name: result["model"]["questions"] for name, result in found.items()} == {str(files[0]): 3, str(files[1]): 1, "other.jsonl": 1}
    assert "b[v]" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    ("question", "told"),
    [({"context": None, "continuation": "c"}, "its context is None"), ({"query": "a", "choices": "cd", "gold": 0}, "has choices 'cd'"),
     ({"query": "a", "choices": ["c", None], "gold": 0}, "its choice 1 is None"),
     ({"query": "a", "choices": ["c"], "gold": True}, "gold True"),
     ({"query": "a", "choices": [], "gold": 0}, "has choices []")],
)  # fmt: skip
def test_what_is_no_text_in_a_question_is_told(stock, tmp_path, monkeypatch, capsys, question, told):
    monkeypatch.setattr("scap_ov.models.tokenizer.load_tokenizer", lambda folder: letters)
    (tmp_path / "q.jsonl").write_text(json.dumps(question))
    assert main(["eval", str(stock), "--reference", str(stock), "--tasks", str(tmp_path / "q.jsonl")]) == 2
    assert told in capsys.readouterr().err
