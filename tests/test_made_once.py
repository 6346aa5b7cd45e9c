"""What tests share is made once, never half, and anew when it is made of something else."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import made_once
import pytest


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(made_once, "HOME", tmp_path / "made")


def write(folder: Path) -> None:
    (folder / "model").write_text("weights")


def test_the_same_ingredients_give_the_same_folder():
    made = []
    first, second = (made_once.made_once("model", ["int8", 2], lambda folder: (write(folder), made.append(folder))) for _ in range(2))
    assert first == second
    assert len(made) == 1
    assert (first / "model").read_text() == "weights"


def test_other_ingredients_give_another_folder(tmp_path):
    source = tmp_path / "source.py"
    folders = []
    for text in ("a", "b"):
        source.write_text(text)
        folders += [made_once.made_once("model", [source, size], write) for size in (1, 2)]
    assert len(set(folders)) == 4


def test_a_run_that_fails_leaves_nothing():
    def fail(folder):
        write(folder)
        msg = "interrupted"
        raise KeyboardInterrupt(msg)

    with pytest.raises(KeyboardInterrupt):
        made_once.made_once("model", [], fail)
    assert [path.name for path in made_once.HOME.iterdir() if path.is_dir()] == []
    assert made_once.made_once("model", [], write).is_dir()


def slowly(home: Path, log: Path) -> None:
    made_once.HOME = home

    def make(folder: Path) -> None:
        write(folder)
        with log.open("a") as file:
            file.write("made\n")

    made_once.made_once("model", [], make)


def test_two_processes_make_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=slowly, args=(made_once.HOME, tmp_path / "log")) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"
