"""Read .jsonl files of tasks: one JSON object a line."""

from __future__ import annotations

from pathlib import Path

from scap_ov.errors import BadDatasetError
from scap_ov.json_values import JsonObject
from scap_ov.models.text import json_rows


def read_jsonl(path: str | Path) -> list[JsonObject]:
    """Objects of a .jsonl file.

    :raises BadDatasetError: the file cannot be read or is empty, or a line is no JSON object.
    """
    rows = [row for _, row in json_rows(Path(path))]
    if not rows:
        msg = f"{path} is empty; give one JSON object a line"
        raise BadDatasetError(msg)
    return rows
