"""Pages of a file that cannot be written are let go and read again; memory that is no file is left alone."""

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from scap_ov.mapped_pages import let_go


def resident_of_files() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(sys.platform != "linux", reason="madvise and /proc are Linux's")
def test_pages_of_a_file_are_let_go_and_read_again(tmp_path):
    values = np.arange(8 << 20, dtype=np.uint32)
    (tmp_path / "weights").write_bytes(values.tobytes())
    with (tmp_path / "weights").open("rb") as file:
        mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint32)
    total = int(mapped.sum())
    before = resident_of_files()
    let_go(mapped)
    assert before - resident_of_files() > 30 << 10  # kB, of 32 MB
    assert int(mapped.sum()) == total


def test_memory_of_our_own_keeps_its_values():
    values = np.arange(1 << 20)
    copy = values.copy()
    let_go(values, values[10:], np.zeros(0))
    np.testing.assert_array_equal(values, copy)
