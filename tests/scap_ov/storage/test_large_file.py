"""Files that are written past the page cache hold what was written, wherever the system lets us and wherever not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from scap_ov.storage import large_file
from scap_ov.storage.large_file import large_file as new_file


def write_pieces(path: Path, size: int = 1 << 60) -> bytes:
    """Pieces below and above what is written at once (4,096 bytes here), and zeros between."""
    rng = np.random.default_rng(0)
    expected = b""
    with new_file(path, size) as out:
        for length in (10, 4086, 0, 20_000, 1, 4096, 333):
            piece = rng.integers(0, 256, length, np.uint8)
            out.write(piece)
            out.fill_to(out.size + 7)
            expected += piece.tobytes() + bytes(7)
        assert out.size == len(expected)
    return expected


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_file, "_AT_ONCE", 4096)


def test_every_byte_is_there(tmp_path: Path) -> None:
    assert write_pieces(tmp_path / "f") == (tmp_path / "f").read_bytes()
    assert write_pieces(tmp_path / "f") == (tmp_path / "f").read_bytes()  # replaced, not added to


def test_what_fits_into_memory_well_goes_through_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open, direct = os.open, []

    def open_(path: Path, flags: int, mode: int = 0o777) -> int:
        direct.append(bool(flags & os.O_DIRECT))
        return real_open(path, flags & ~os.O_DIRECT, mode)

    monkeypatch.setattr(large_file, "_memory", lambda: 400_000)
    monkeypatch.setattr(large_file.os, "open", open_)
    for size in (100_000, 100_001):
        write_pieces(tmp_path / "f", size)
    assert direct == [False, True]


@pytest.mark.parametrize("where", ["open", "write"])
def test_a_file_system_that_does_not_take_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    real_open, real_write, refused = os.open, os.write, []

    def open_(path: Path, flags: int, mode: int = 0o777) -> int:
        if where == "open" and flags & os.O_DIRECT:
            refused.append(1)
            raise OSError(errno.EINVAL, "no")
        return real_open(path, flags, mode)

    def write(file: int, data: memoryview) -> int:
        if where == "write" and not refused:
            refused.append(1)
            raise OSError(errno.EINVAL, "no")
        return real_write(file, data)

    monkeypatch.setattr(large_file.os, "open", open_)
    monkeypatch.setattr(large_file.os, "write", write)
    expected = write_pieces(tmp_path / "f")
    monkeypatch.undo()
    assert (tmp_path / "f").read_bytes() == expected
    assert refused


def test_writes_that_stop_in_the_middle_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(large_file.os, "write", lambda file, data: real(file, data[: max(1, len(data) // 2)]))
    expected = write_pieces(tmp_path / "f")
    monkeypatch.undo()
    assert (tmp_path / "f").read_bytes() == expected


def test_a_full_disk_is_an_error_and_the_file_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: memoryview) -> int:
        del file, data
        raise OSError(errno.ENOSPC, "No space left on device")

    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(large_file.os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            write_pieces(tmp_path / "f")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
