"""Archives of bundles: equal contents give equal bytes, and no name unpacks anywhere but below the top folder."""

from __future__ import annotations

import hashlib
import os
import tarfile

import pytest

from scap_ov.deploy.archive import SUMS, Member, check_members, is_safe, stem_of, write_archive
from scap_ov.errors import BadModelError, OutputError, UsageError

MEMBERS = [Member("model/b.txt", b"bb"), Member("bin/run", b"#!", executable=True), Member("model/ä b.txt", b"")]


def test_equal_contents_give_equal_bytes_whatever_the_order_and_the_time(tmp_path):
    file = tmp_path / "c.txt"
    file.write_bytes(b"c")
    archives = []
    for number, order in enumerate((1, -1)):
        os.utime(file, (number * 1000, number * 1000))
        file.chmod(0o600 if number else 0o644)
        path = tmp_path / str(number) / "out.tar.gz"
        path.parent.mkdir()
        assert write_archive([*MEMBERS, Member("c.txt", file)][::order], path) == path.stat().st_size
        archives.append(path.read_bytes())
    assert archives[0] == archives[1]


@pytest.mark.parametrize("name", ["out.tar.gz", "out.tgz", "out.tar"])
def test_what_is_unpacked_is_what_went_in(name, tmp_path):
    write_archive(MEMBERS, tmp_path / name)
    with tarfile.open(tmp_path / name) as tar:
        assert {(m.mode, m.uid, m.gid, m.mtime, m.uname) for m in tar.getmembers()} == {(0o644, 0, 0, 0, ""), (0o755, 0, 0, 0, "")}
        tar.extractall(tmp_path, filter="data")
    for member in MEMBERS:
        assert (tmp_path / "out" / member.name).read_bytes() == member.source
    assert os.access(tmp_path / "out" / "bin" / "run", os.X_OK)
    sums = (tmp_path / "out" / SUMS).read_text(encoding="utf-8").splitlines()
    assert sums == [f"{hashlib.sha256(m.source).hexdigest()}  {m.name}" for m in sorted(MEMBERS, key=lambda m: m.name)]


@pytest.mark.parametrize("name", ["/etc/x", "a/../../x", "-rf", "a/-x", "a\nb", "a\\b", "a\x1b[2J", "b\udcff", ""])
def test_names_that_a_tool_could_take_for_something_else_are_not_safe(name):
    assert not is_safe(name)
    with pytest.raises(BadModelError, match="rename the file"):
        check_members([Member(name, b"")])


def test_names_that_differ_in_case_only_are_refused():
    with pytest.raises(BadModelError, match=r"model/A.json and model/a.json differ"):
        check_members([Member("model/A.json", b""), Member("model/a.json", b"")])


@pytest.mark.parametrize("name", ["out.zip", "out", ".tar.gz", "-o.tar"])
def test_other_suffixes_are_refused(name):
    with pytest.raises(UsageError, match=r"ends in \.tar\.gz"):
        stem_of(name)


def test_a_file_that_vanishes_leaves_no_archive(tmp_path):
    gone = tmp_path / "gone"
    gone.write_bytes(b"x")

    def remove(done, total):
        gone.unlink(missing_ok=True)

    with pytest.raises(OutputError, match="No such file"):
        write_archive([Member("a", b"first"), Member("gone", gone)], tmp_path / "out.tar", progress=remove)
    assert list(tmp_path.iterdir()) == []
