"""Every exception that the library raises on purpose. The CLI prints their text and exits with `exit_code`."""

from __future__ import annotations


class ScapError(Exception):
    """Base of all scap_ov errors. Its text is one sentence: what is wrong, and what to do."""

    exit_code = 1


class UsageError(ScapError, ValueError):
    """A bad argument, option or configuration value."""

    exit_code = 2


class BadModelError(ScapError):
    """The model cannot be read, holds no fully connected layer, or is already sparse."""

    exit_code = 2


class UncutError(BadModelError):
    """The model cannot be taken apart into blocks, or not be differentiated so; the text is the reason, a clause."""


class BadDatasetError(ScapError):
    """The calibration or evaluation data is empty, too short, or gives NaN activations."""

    exit_code = 2


class MismatchError(ScapError):
    """A profile or plan belongs to another model."""

    exit_code = 2


class OutputError(ScapError):
    """The output folder is not empty, or writing to it failed."""

    exit_code = 2


class ExtensionError(ScapError):
    """The extension library is missing, of another OpenVINO release, or refused by this CPU."""


class MissingDependencyError(ScapError):
    """An optional dependency is needed for what was asked."""


def reason_of(error: BaseException) -> str:
    """What tells the cause: of the operating system its words, without number and path; of another package's message one line.

    OpenVINO's come with a trace before it and blank lines behind it.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from ")]
    return lines[-1] if lines else type(error).__name__
