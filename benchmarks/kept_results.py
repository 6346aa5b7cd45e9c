"""A JSON file of results that grows from run to run, so that a long benchmark can be run in pieces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Results = list[dict[str, Any]]


class KeptResults:
    """What a file holds, and takes in.

    :param file: read where it exists; None keeps nothing.
    :param facts: of this run, such as the machine; a file with other facts is refused.
    :raises SystemExit: the file is of another run.
    """

    def __init__(self, file: Path | None, facts: Mapping[str, object]) -> None:
        self._file = file
        self._facts = dict(facts)
        self._more: dict[str, object] = {}
        self.results: Results = []
        if file is None or not file.exists():
            return
        content = json.loads(file.read_text(encoding="utf-8"))
        for name, value in facts.items():
            if content.get(name) != value:
                msg = f"{file} has {name} {content.get(name)!r}, and this run has {value!r}; give another file"
                raise SystemExit(msg)
        self.results = content["results"]
        self._more = {name: value for name, value in content.items() if name != "results" and name not in facts}

    def has(self, case: Mapping[str, object]) -> bool:
        """Whether an entry with all these values is there."""
        return any(all(entry.get(name) == value for name, value in case.items()) for entry in self.results)

    def add(self, entries: Sequence[dict[str, Any]], **more: object) -> None:
        """Take in entries, and write the file whole.

        :param more: of the file as a whole; what an earlier run wrote stays.
        """
        self.results += entries
        self._more = {**more, **self._more}
        if self._file:
            text = json.dumps({**self._facts, **self._more, "results": self.results}, indent=2)
            self._file.write_text(text + "\n", encoding="utf-8")
