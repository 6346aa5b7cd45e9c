"""What long work is given to say how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with the steps done and the steps in all, None where that is not known."""

    def __call__(self, done: int, total: int | None, /) -> None:
        """Take it in; it must not raise."""


class TitledProgress(Protocol):
    """As Progress, with the name of the step that is under way: for work of several steps."""

    def __call__(self, done: int, total: int | None, title: str, /) -> None:
        """Take it in; it must not raise."""


def titled(progress: TitledProgress | None, title: str) -> Progress | None:
    """The progress of one step, by its name."""
    if progress is None:
        return None
    return lambda done, total: progress(done, total, title)
