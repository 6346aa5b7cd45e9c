"""Read .jsonl files: one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scap_ov.errors import BadDatasetError


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Objects of a .jsonl file.

    :raises BadDatasetError: the file cannot be read, or a line is no JSON object.
    """
    rows = []
    try:
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    msg = f"{path} line {number} is no JSON object; give one object a line"
                    raise BadDatasetError(msg)
                rows.append(row)
    except json.JSONDecodeError as e:
        msg = f"{path} line {number} is no JSON ({e.msg}); give one object a line"
        raise BadDatasetError(msg) from e
    except (OSError, UnicodeDecodeError) as e:
        msg = f"{path} cannot be read ({getattr(e, 'strerror', None) or e}); give a .jsonl file"
        raise BadDatasetError(msg) from e
    if not rows:
        msg = f"{path} is empty; give one JSON object a line"
        raise BadDatasetError(msg)
    return rows
