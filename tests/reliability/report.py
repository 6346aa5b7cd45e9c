"""What a part of `make reliability` found: figures for the page, failures, and how long it took."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

SEED = 20261126  # of every part; a failure names the seed of its case


@dataclass
class Part:
    """Result of one part.

    :param figures: what was counted -> how many.
    :param failures: one line each, with what repeats it.
    :param skipped: why it did not run, or None.
    """

    name: str
    figures: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    skipped: str | None = None
    seconds: float = 0.0

    def count(self, what: str, number: float = 1) -> None:
        """Add to a figure."""
        self.figures[what] = self.figures.get(what, 0) + number

    def check(self, held: bool, failure: str) -> None:
        """Note a failure where something did not hold."""
        if not held:
            self.failures.append(failure)
            print(failure, file=sys.stderr, flush=True)
