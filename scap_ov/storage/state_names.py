"""A check of .xml files before OpenVINO reads them, which (2026.4.1) ends the process where a variable of a stateful model has no name."""

from __future__ import annotations

import re
from pathlib import Path

_LAYER = re.compile(rb'<layer\b[^>]*\btype="(ReadValue|Assign)"[^>]*>(.*?)</layer>', re.DOTALL)
_NAME = re.compile(rb'<data\b[^>]*\bvariable_id="([^"]+)"')


def objection(xml: Path) -> str | None:
    """Why OpenVINO cannot read the file, a clause; None where nothing is known against it.

    :raises OSError: the file cannot be read.
    """
    for layer in _LAYER.finditer(xml.read_bytes()):
        if not _NAME.search(layer[2].partition(b"<input")[0]):
            return f"a {layer[1].decode()} in it names no variable"
    return None
