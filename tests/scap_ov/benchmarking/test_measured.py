"""What was measured before is used again on the same machine, and a cache that cannot be used costs time alone."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from scap_ov.benchmarking import measured
from scap_ov.benchmarking.measured import Measurements, cache_file

KEY = {"gain at": 0.5, "in_features": 64}


def never() -> float:
    msg = "measured again"
    raise AssertionError(msg)


def test_a_number_is_measured_once_and_found_by_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "cache.json"
    first = Measurements(file)
    assert [first.number(KEY, lambda: 1.25), first.number(KEY, never)] == [1.25, 1.25]
    assert (first.measured, first.reused) == (1, 1)
    second = Measurements(file)
    assert second.number(dict(reversed(KEY.items())), never) == 1.25
    assert second.number({**KEY, "in_features": 65}, lambda: 2.0) == 2.0


def test_what_two_processes_measure_is_kept_of_both(tmp_path: Path) -> None:
    one, two = Measurements(tmp_path / "c"), Measurements(tmp_path / "c")
    one.number({"n": 0}, lambda: 1.0)
    two.number({"n": 0}, never)
    one.number({"n": 1}, lambda: 2.0)
    two.number({"n": 2}, lambda: 3.0)
    assert [Measurements(tmp_path / "c").number({"n": n}, never) for n in range(3)] == [1.0, 2.0, 3.0]


def test_again_measures_and_replaces(tmp_path: Path) -> None:
    Measurements(tmp_path / "c").number(KEY, lambda: 0.5)
    assert Measurements(tmp_path / "c", again=True).number(KEY, lambda: 1.5) == 1.5
    assert Measurements(tmp_path / "c").number(KEY, never) == 1.5


@pytest.mark.parametrize(
    "damage",
    ["{", "[]", '{"version": 1}', '{"version": 2, "numbers": {}}', '{"version": 1, "numbers": {"a": "fast"}}', "\x00\xff",
     '{"version": 1, "numbers": {"a": NaN}}', "[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_is_told_of_and_measured_anew(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "c"
    file.write_bytes(damage.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert Measurements(file).number(KEY, lambda: 1.5) == 1.5
    assert all(str(file) in record.getMessage() and "measured anew" in record.getMessage() for record in caplog.records)
    assert caplog.records
    assert json.loads(file.read_text())["numbers"]
    assert Measurements(file).number(KEY, never) == 1.5


def test_a_folder_that_cannot_be_written_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    numbers = Measurements(tmp_path / "file" / "c")
    with caplog.at_level(logging.WARNING):
        assert [numbers.number({"n": n}, lambda: 1.0) for n in range(2)] == [1.0, 1.0]
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == ["measurements are not kept for the next run"]


def test_the_file_is_of_this_machine_and_library_below_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = cache_file()
    assert here is not None
    assert here.parent == tmp_path / "scap_ov"
    assert cache_file() == here
    monkeypatch.setattr(measured, "machine", lambda: {"processor": "another"})
    assert cache_file() != here
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    other = cache_file()
    assert other is not None
    assert other.parent == tmp_path / ".cache" / "scap_ov"
