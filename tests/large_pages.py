"""What a process asked of the operating system for a mapped file."""

from __future__ import annotations

from pathlib import Path


def asks_for_large_pages(file: Path) -> bool:
    """Whether a mapping of this file in the process has the flag of madvise(MADV_HUGEPAGE)."""
    own = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split()[0]:
            own = line.endswith(str(file))
        elif own and line.startswith("VmFlags:") and "hg" in line.split():
            return True
    return False
