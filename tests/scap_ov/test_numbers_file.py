"""Why a plan or profile cannot be read is told as the operating system tells it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from made_up_profile import small_profile

from scap_ov.errors import UsageError
from scap_ov.statistics.profile import CalibrationProfile


def test_a_file_that_is_closed_to_us_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that reads it says "No such file" of both."""

    def closed(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    small_profile().save(tmp_path / "profile")
    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(UsageError, match=r"profile cannot be read as a calibration profile \(Permission denied\); give a file"):
        CalibrationProfile.load(tmp_path / "profile")
