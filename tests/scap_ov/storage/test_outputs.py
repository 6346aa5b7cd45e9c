"""Outputs that cannot be written are refused before the work, with the sentence that says why."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from scap_ov.errors import OutputError
from scap_ov.storage import outputs
from scap_ov.storage.outputs import check_files, check_folder


def refuse_to_write(monkeypatch, place):
    """As for a user who may not write there; tests may run as root."""
    open_ = os.open

    def opened(path, flags, *args, **options):
        if str(path) == str(place):
            raise PermissionError(13, "Permission denied")
        return open_(path, flags, *args, **options)

    monkeypatch.setattr(outputs.os, "open", opened)


def test_files_that_can_be_written_are_left_to_be_written(tmp_path):
    check_files({"--json": tmp_path / "new", "--html": None, "--output": "/dev/null"})
    (tmp_path / "old").write_text("x")
    check_files({"--json": tmp_path / "old"}, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "said"),
    [("old", "the file exists already; give a new one, or --overwrite"), ("folder", "it is a folder"), ("", "it is a folder"),
     ("missing/x", "its folder does not exist"), ("old/x", "is a file, not a folder"), ("n" * 300, "File name too long"),
     ("link", "the file exists already"), ("dangling", "its folder does not exist"), ("a\0b", "embedded null")],
)  # fmt: skip
def test_rule_1_and_3_files_that_cannot(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("old")
    (tmp_path / "dangling").symlink_to("nowhere/file")
    with pytest.raises(OutputError, match="--save-plan") as refused:
        check_files({"--save-plan": name})
    assert said in str(refused.value)


def test_rule_2_what_is_read_is_never_replaced_and_no_file_is_written_twice(tmp_path):
    profile = tmp_path / "p.safetensors"
    profile.write_text("x")
    (tmp_path / "link").symlink_to(profile)
    for name in (profile, tmp_path / "link", tmp_path / "." / "p.safetensors"):
        with pytest.raises(OutputError, match="it is the file that --profile reads"):
            check_files({"--save-plan": name}, overwrite=True, inputs={"--profile": profile})
    with pytest.raises(OutputError, match="it is the file that --json writes"):
        check_files({"--json": tmp_path / "new", "--html": tmp_path / "new"})


def test_rule_3_a_folder_that_cannot_be_written_in(tmp_path, monkeypatch):
    refuse_to_write(monkeypatch, tmp_path)
    with pytest.raises(OutputError, match=r"--json .*f\.json: it cannot be written \(Permission denied\)"):
        check_files({"--json": tmp_path / "f.json"})


def test_folders_that_can_be_used(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "empty" / ".empty.0a1b2c3d.partial").mkdir()  # of a run that was killed: removed by the next one
    for name in ("new", "deep/down/new", "empty", "link", "empty/."):
        check_folder(tmp_path / name)
    monkeypatch.chdir(tmp_path / "empty")
    check_folder(".")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "link"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("file", "is a file"), ("full", "is not empty; give the name of a new folder"),
     ("dangling", "is a link to nowhere, which is not there"),
     ("file/x", "Not a directory"), ("n" * 300, "File name too long"), ("", "is empty"), ("/proc/x", "/proc/x cannot be used")],
)  # fmt: skip
def test_folders_that_cannot(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(OutputError) as refused:
        check_folder(name)
    assert said in str(refused.value)


def test_overwrite_replaces_what_scap_ov_wrote_and_nothing_else(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"--overwrite replaces folders that hold a scap_config\.json only"):
        check_folder(tmp_path / "mine", overwrite=True)
    (tmp_path / "mine" / "scap_config.json").write_text("{}")
    check_folder(tmp_path / "mine", overwrite=True)
    with pytest.raises(OutputError, match="is not empty"):
        check_folder(tmp_path / "mine")


def test_rule_2_an_output_inside_the_model_folder_is_refused(tmp_path):
    (tmp_path / "stock").mkdir()
    (tmp_path / "link").symlink_to("stock")
    for name in ("stock/a/b", "link/new", "stock/../stock/new"):
        with pytest.raises(OutputError, match="is inside the model's folder"):
            check_folder(tmp_path / name, source=tmp_path / "stock")
    check_folder(tmp_path / "stock-new", source=tmp_path / "stock")


def test_rule_3_a_parent_that_cannot_be_written_and_a_folder_of_ones_own_in_it(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    refuse_to_write(monkeypatch, tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path))
    with pytest.raises(OutputError, match="Permission denied"):
        check_folder(tmp_path / "new" / "er")
    check_folder(tmp_path / "mine")


def test_rule_3_a_disk_without_room(tmp_path):
    free = outputs.shutil.disk_usage(tmp_path).free
    with pytest.raises(OutputError, match=r"needs about \d+ MB for some time, and .* has \d+ MB left"):
        check_folder(tmp_path / "out", size=free + 10**9)
    check_folder(tmp_path / "out", size=free // 2)


def test_looking_whether_a_folder_can_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where a run is killed meanwhile: on file systems without nameless files, the next run removes what is left."""
    open_ = os.open

    def without_nameless(path: object, flags: int, *args: object, **kwargs: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return open_(path, flags, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", without_nameless)
    (tmp_path / ".scap_ov.killed_1").mkdir()
    check_files({"--json": tmp_path / "new"})
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "mkdtemp", None)
    check_files({"--json": tmp_path / "new"})
