"""Where a command's results go: tables on standard output, progress on standard error, figures as JSON to a file or to standard output."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from scap_ov.errors import OutputError

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class Output:
    """Tables and messages for people, JSON for programs. With `--json -` only the JSON reaches standard output.

    :param target: value of `--json`: a file, `-`, or None.
    :raises OutputError: the file's folder does not exist or cannot be written.
    """

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._stdout: int | None = None
        if target not in (None, "-") and not Path(str(target)).absolute().parent.is_dir():
            msg = f"--json {target}: its folder does not exist; create it first"
            raise OutputError(msg)

    def __enter__(self) -> Self:
        if self._target == "-":  # also what C++ libraries print goes to standard error from here on
            sys.stdout.flush()
            self._stdout = os.dup(1)
            os.dup2(2, 1)
        # rich must not cut names when the output is a file or a pipe
        width = None if sys.stdout.isatty() else 200
        self._tables = Console(stderr=self._target == "-", width=width, highlight=False)
        self._progress_console = Console(stderr=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._stdout is not None:
            sys.stdout.flush()
            os.dup2(self._stdout, 1)
            os.close(self._stdout)
            self._stdout = None

    def figures(self, values: Any) -> None:
        """Write the JSON, when it was asked for."""
        if self._target is None:
            return
        text = json.dumps(plain(values), indent=2, allow_nan=False) + "\n"
        if self._stdout is not None:
            data = text.encode()
            while data:
                data = data[os.write(self._stdout, data) :]
            return
        path = Path(self._target)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            scratch.write_text(text, encoding="utf-8")
            os.replace(scratch, path)
        except OSError as e:
            scratch.unlink(missing_ok=True)
            msg = f"--json {path} cannot be written ({e.strerror}); give another file"
            raise OutputError(msg) from e

    def table(self, title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; columns whose cells are numbers are right-aligned."""
        cells = [[_cell(value) for value in row] for row in rows]
        table = Table(title=title or None, title_justify="left")
        for i, name in enumerate(header):
            numeric = bool(cells) and all(not row[i] or row[i][0] in "+-0123456789" for row in cells)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in cells:
            table.add_row(*row)
        self._tables.print(table)

    def say(self, text: str) -> None:
        """One line for people."""
        self._tables.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[ProgressBar]:
        """A bar on standard error for work that may take longer than a second."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._progress_console, transient=True) as bar:
            yield ProgressBar(bar, title)


class ProgressBar:
    """Callable as `progress(done, total)`, which is the form that long-running functions of scap_ov report in."""

    def __init__(self, bar: Progress, title: str) -> None:
        self._bar = bar
        self._task = bar.add_task(title, total=None)

    def __call__(self, done: int, total: int | None = None, title: str | None = None) -> None:
        """Show `done` of `total` steps."""
        self._bar.update(self._task, completed=done, total=total)
        if title:
            self._bar.update(self._task, description=title)


def plain(value: Any) -> Any:  # noqa: PLR0911 - one line per type
    """JSON values: dataclasses as objects, numpy as lists and numbers, NaN and infinities as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return "" if value is None else str(value)
