"""Where a command's results go: tables on standard output, progress on standard error, figures as JSON to a file or to standard output."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from scap_ov.atomic import new_file

if TYPE_CHECKING:
    from typing_extensions import Self

JSON_VERSION = 1  # of the objects that --json writes: raised when a key goes or changes its meaning, not when one is added
_ESCAPED = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories: controls, surrogates (bytes that are no text), separators of lines
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # would show text in another order


class Output:
    """Tables and messages for people, JSON for programs. With `--json -` standard output gets the JSON, and no table is printed at all.

    What users bring (names, paths, reasons) is shown as it is: never read as markup, control characters escaped.

    :param target: value of `--json`: a file, `-`, or None.
    :param quiet: errors only, and the text of `stream`.
    :param verbose: also what the library notes on its way.
    """

    def __init__(self, target: str | None, *, quiet: bool = False, verbose: bool = False) -> None:
        self._target = target
        self._stdout: int | None = None
        self.silent = quiet or target == "-"
        self._handler = _Handler()
        self._level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING

    def __enter__(self) -> Self:
        if self._target == "-":  # also what C++ libraries print goes to standard error from here on
            sys.stdout.flush()
            self._stdout = os.dup(1)
            os.dup2(2, 1)
        # rich must not cut names when the output is a file or a pipe
        width = None if sys.stdout.isatty() else 200
        colours: Any = None if os.environ.get("NO_COLOR") else "auto"  # rich alone would leave bold and italics
        self._tables = Console(width=width, highlight=False, markup=False, emoji=False, color_system=colours)
        self._progress_console = Console(stderr=True, markup=False, emoji=False, color_system=colours)
        self._handler.setLevel(self._level)
        logger = logging.getLogger("scap_ov")
        self._before = logger.level
        logger.setLevel(self._level)
        logger.addHandler(self._handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        logger = logging.getLogger("scap_ov")
        logger.removeHandler(self._handler)
        logger.setLevel(self._before)
        if self._stdout is not None:
            sys.stdout.flush()
            os.dup2(self._stdout, 1)
            os.close(self._stdout)
            self._stdout = None

    def figures(self, values: object) -> None:
        """Write the JSON, when it was asked for: an object, with the version of the format first."""
        if self._target is None:
            return
        data = (json.dumps({"format_version": JSON_VERSION, **plain(values)}, indent=2, allow_nan=False) + "\n").encode()
        if self._stdout is None:
            with new_file(self._target) as part:
                part.write_bytes(data)
            return
        while data:
            data = data[os.write(self._stdout, data) :]

    def table(self, title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; columns whose cells are numbers are right-aligned."""
        if self.silent:
            return
        cells = [[_cell(value) for value in row] for row in rows]
        table = Table(title=Text(shown(title), "table.title") if title else None, title_justify="left")
        for i, name in enumerate(header):
            numeric = bool(cells) and all(not row[i] or row[i][0] in "+-0123456789" for row in cells)
            table.add_column(Text(shown(name)), justify="right" if numeric else "left", overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        self._tables.print(table)

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.silent:
            self._tables.print(Text(shown(text)), soft_wrap=True)

    def note(self, text: str) -> None:
        """A line beside the result: on standard error."""
        if not self.silent:
            print(shown(text), file=sys.stderr)

    def stream(self, piece: str) -> None:
        """A piece of text that is the result itself, such as what a model writes: as it comes, line breaks and tabs included."""
        if self._target != "-":
            print("".join(c if c in "\n\t" else shown(c) for c in piece), end="", flush=True)

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[ProgressBar]:
        """A bar on standard error for work that may take longer than a second."""
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        quiet = self._level == logging.ERROR
        with Progress(*columns, console=self._progress_console, transient=True, disable=quiet) as bar:
            yield ProgressBar(bar, title)


class _Handler(logging.Handler):
    """What the library has to say, one line each on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        print(f"scap-ov: {level}{shown(record.getMessage())}", file=sys.stderr)


class ProgressBar:
    """Callable as `progress(done, total)`, which is the form that long-running functions of scap_ov report in."""

    def __init__(self, bar: Progress, title: str) -> None:
        self._bar = bar
        self._task = bar.add_task(shown(title), total=None)

    def __call__(self, done: int, total: int | None = None, title: str | None = None) -> None:
        """Show `done` of `total` steps."""
        self._bar.update(self._task, completed=done, total=total)
        if title:
            self._bar.update(self._task, description=shown(title))


def shown(text: str) -> str:
    """Text of anybody on one line of a terminal: control characters, direction marks and what is no Unicode as escapes."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in _ESCAPED or c in _TURNING else c for c in text)


def plain(value: object) -> Any:  # noqa: PLR0911 - one line per type
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
    return "" if value is None else shown(str(value))
