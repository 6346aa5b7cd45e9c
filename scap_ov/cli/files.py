"""Files that commands write, marked where an option is declared and checked together before any command starts."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from scap_ov.errors import ScapError, UsageError
from scap_ov.storage.model_files import model_file
from scap_ov.storage.outputs import check_files


class OutputFile(str):
    """The value of an option that names a file to write, as argparse type. Which files a command writes is read from its arguments."""

    __slots__ = ()


def check_outputs(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse what cannot be written or must not be replaced; see `storage.outputs.check_files`.

    :raises UsageError: a value is empty, as that of a variable of the shell that is not set; it would be taken for "not given".
    :raises OutputError: a file is there and --overwrite was not given, or is one that the command reads, or cannot be made.
    """
    values = [(_name(action), value) for action in parser._actions for value in _values(args, action)]  # noqa: SLF001 - there is no other way
    for name, value in values:
        if not value and name != "prompt":  # which may come from standard input
            msg = f"{name} is empty; give a value" + (", or leave the option out" if name.startswith("-") else "")
            raise UsageError(msg)
    outputs = {name: value for name, value in values if isinstance(value, OutputFile) and value != "-"}
    inputs = {f"{name} {path.name}": path for name, value in values if not isinstance(value, OutputFile) for path in _read(value)}
    check_files(outputs, overwrite=getattr(args, "overwrite", False), inputs=inputs)


def _name(action: argparse.Action) -> str:
    shown = action.metavar if isinstance(action.metavar, str) else action.dest
    return max(action.option_strings, key=len, default=shown)


def _values(args: argparse.Namespace, action: argparse.Action) -> Iterator[str]:
    value = getattr(args, action.dest, None)
    yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str))


def _read(value: str) -> list[Path]:
    """The files that a value names: itself, or the model of a folder."""
    try:
        if Path(value).is_file():
            return [Path(value)]
        if not Path(value).is_dir():
            return []
        model = model_file(value)
    except (OSError, ValueError, ScapError):
        return []
    return [path for path in (model, model.with_suffix(".bin")) if path.is_file()]
