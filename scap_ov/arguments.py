"""What callers of Python functions and options of commands may give; anything else is one sentence, before the work."""

from __future__ import annotations

import math
from numbers import Integral, Real
from pathlib import Path

from scap_ov.errors import UsageError

_LONGEST = 100  # characters of a path that are repeated to the user


def check_type(name: str, value: object, kinds: type | tuple[type, ...], give: str) -> None:
    """What a caller gave must be of a kind; a bool is no number.

    :raises UsageError: it is of none of these.
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        msg = f"{name} is of type {type(value).__name__}; give {give}"
        raise UsageError(msg)


def check_count(name: str, value: object, least: int) -> None:
    """A whole number that is large enough.

    :raises UsageError: it is none, or smaller.
    """
    check_type(name, value, Integral, "a whole number")
    if value < least:  # type: ignore[operator]
        msg = f"{name} is {value}; give at least {least}"
        raise UsageError(msg)


def check_positive(name: str, value: object, give: str) -> None:
    """A number above 0, and finite.

    :raises UsageError: it is none.
    """
    check_type(name, value, Real, give)
    if not 0 < value < math.inf:  # type: ignore[operator]
        msg = f"{name} is {value}; give {give}"
        raise UsageError(msg)


def check_path(name: str, value: object, give: str = "the path of a file or folder") -> Path:
    """A path that can be looked for, whether or not anything is there.

    :raises UsageError: it is none, is empty, too long, or leads through a folder that is closed to us.
    """
    check_type(name, value, (str, Path), give)
    text = str(value)
    if not text:
        msg = f"{name} is empty; give {give}"
        raise UsageError(msg)
    if "\0" in text:
        msg = f"{name} holds a null character; give {give}"
        raise UsageError(msg)
    try:
        Path(text).stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as e:
        shown = text if len(text) < _LONGEST else f"{text[:_LONGEST]}…"
        msg = f"{name} {shown} cannot be used ({e.strerror}); give {give}"
        raise UsageError(msg) from e
    return Path(text)


def check_progress(progress: object) -> None:
    """What is called to show how far the work is.

    :raises UsageError: it cannot be called.
    """
    if progress is not None and not callable(progress):
        msg = f"progress is of type {type(progress).__name__}; give a function, or leave it out"
        raise UsageError(msg)
