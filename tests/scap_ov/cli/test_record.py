"""What is noted beside a model is read without the library, and told of where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from scap_ov.cli.record import record_of
from scap_ov.errors import BadModelError


@pytest.mark.parametrize("text", ["", "[]", "5", "{}", '{"config": 3, "summary": {}}', '{"summary": []}', "[" * 50000, "{\x00}"])
def test_damaged_notes(text: str, tmp_path: Path) -> None:
    (tmp_path / "openvino_model.xml").write_text("<net/>")
    (tmp_path / "openvino_model.bin").write_bytes(b"")
    (tmp_path / "scap_config.json").write_text(text)
    with pytest.raises(BadModelError, match=r"scap_config.json is damaged"):
        record_of(str(tmp_path))
