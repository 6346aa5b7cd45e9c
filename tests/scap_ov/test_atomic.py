"""Files and folders appear complete or not at all, and what a killed run left goes with the next one."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from scap_ov import atomic
from scap_ov.atomic import new_file, new_folder
from scap_ov.errors import OutputError


def fill(scratch: Path) -> None:
    (scratch / "sub").mkdir()
    (scratch / "sub" / "a").write_text("a")
    (scratch / "m.xml").write_text("m")


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("make", [new_file, new_folder])
def test_a_block_that_fails_leaves_nothing(tmp_path, make):
    def interrupted():
        with make(tmp_path / "deep" / "out" if make is new_folder else tmp_path / "out") as scratch:
            (scratch / "half" if scratch.is_dir() else scratch).write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_in_one_step_and_a_link_is_followed(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with new_file(tmp_path / "link") as part:
        part.write_text("new")
        assert (tmp_path / "real").read_text() == "old"
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


@pytest.mark.parametrize(("before", "mode"), [(None, 0o640), (0o604, 0o604)])
def test_a_file_has_the_mode_of_any_new_file_or_that_of_the_one_it_replaces(tmp_path, before, mode):
    """Whatever wrote it: safetensors gives its files to their owner alone, and a profile is there to be shared."""
    target = tmp_path / "out"
    if before is not None:
        target.write_text("old")
        target.chmod(before)
    mask = os.umask(0o027)
    try:
        with new_file(target) as part:
            part.write_text("new")
            part.chmod(0o600)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_folder_that_cannot_be_replaced_comes_back(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    rename = os.rename

    def interrupted(source, target):
        if Path(target) == tmp_path / "out" and (Path(source) / "m.xml").exists():
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(atomic.os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "out", replace=True) as scratch:
        fill(scratch)
    assert contents(tmp_path) == ["out/old"]


def test_a_device_and_a_pipe_get_the_bytes(tmp_path):
    with new_file("/dev/null") as part:
        part.write_text("x")
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with new_file(tmp_path / "pipe") as part:
        part.write_text("through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)


def test_a_folder_takes_the_place_of_an_empty_one_and_of_a_link_to_one(tmp_path):
    (tmp_path / "empty").mkdir(0o750)
    (tmp_path / "link").symlink_to("empty")
    with new_folder(tmp_path / "link") as scratch:
        fill(scratch)
        assert contents(tmp_path / "empty") == []
    assert contents(tmp_path / "empty") == ["m.xml", "sub/a"]
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o750
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "link"]


def test_rule_2_the_current_folder_is_filled_in_place(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with new_folder(".") as scratch:
        assert scratch.parent == tmp_path / "here"
        fill(scratch)
    assert contents(tmp_path / "here") == ["m.xml", "sub/a"]
    assert Path("m.xml").read_text() == "m"  # the process still stands in the folder


@pytest.mark.parametrize("reason", ["mount", "parent"])
def test_rule_2_mount_points_and_folders_of_closed_parents_are_filled_in_place(tmp_path, monkeypatch, reason):
    (tmp_path / "mine").mkdir()
    if reason == "mount":
        monkeypatch.setattr(atomic.os.path, "ismount", lambda path: Path(path) == tmp_path / "mine")
    else:
        monkeypatch.setattr(atomic.os, "access", lambda path, mode: Path(path) != tmp_path)
    with new_folder(tmp_path / "mine") as scratch:
        assert scratch.parent == tmp_path / "mine"
        fill(scratch)
    assert contents(tmp_path) == ["mine/m.xml", "mine/sub/a"]


@pytest.mark.parametrize("here", [False, True])
def test_a_folder_with_contents_is_replaced_when_that_is_asked_for(tmp_path, monkeypatch, here):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "stale").write_text("x")
    if here:
        monkeypatch.chdir(tmp_path / "old")
    with new_folder(tmp_path / "old", replace=True) as scratch:
        fill(scratch)
    assert contents(tmp_path) == ["old/m.xml", "old/sub/a"]


def test_what_a_killed_run_left_is_removed_and_named(tmp_path, caplog):
    """A process that is killed in the middle, for a folder and for a file."""
    code = """
        import os, signal, sys
        from scap_ov.atomic import new_file, new_folder
        with new_folder(sys.argv[1] + "/out") as folder, new_file(sys.argv[1] + "/f.json") as part:
            (folder / "half").write_text("x")
            part.write_text("x")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-Ic", textwrap.dedent(code), str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    left = sorted(tmp_path.iterdir())
    assert len(left) == 2
    with caplog.at_level(logging.WARNING, "scap_ov"), new_folder(tmp_path / "out") as scratch, new_file(tmp_path / "f.json") as part:
        fill(scratch)
        part.write_text("{}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.json", "out"]
    assert all(any(str(path) in record.getMessage() for record in caplog.records) for path in left)


def test_the_scratch_of_a_run_that_is_alive_is_left_alone(tmp_path):
    with new_folder(tmp_path / "out") as scratch:
        fill(scratch)
        atomic.remove_leftovers(tmp_path / "out")
        assert scratch.is_dir()
    other = tmp_path / ".mine.00000000.partial"  # of another output
    other.mkdir()
    atomic.remove_leftovers(tmp_path / "out")
    assert other.is_dir()


def test_scratch_on_a_file_system_without_locks(tmp_path, monkeypatch):
    def refused(handle, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refused)
    (tmp_path / ".out.00000000.partial").mkdir()
    with new_folder(tmp_path / "out") as scratch:
        fill(scratch)
    assert (tmp_path / ".out.00000000.partial").is_dir()  # nobody can tell whether it is in use
    assert contents(tmp_path / "out") == ["m.xml", "sub/a"]


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    with new_file(tmp_path / ("n" * 255)) as part:
        part.write_text("x")
    assert [len(p.name) for p in tmp_path.iterdir()] == [255]


def test_a_failure_is_one_sentence(tmp_path):
    with pytest.raises(OutputError, match=r"writing .* failed"), new_folder(tmp_path / "out") as scratch:
        (scratch / "no" / "such").write_text("x")
    assert list(tmp_path.iterdir()) == []
