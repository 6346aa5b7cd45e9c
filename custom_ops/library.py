"""The extension library of this installation: its path, whether it fits the installed OpenVINO, and which kernels run."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import openvino as ov

from scap_ov.custom_ops import library_path
from scap_ov.errors import ExtensionError, UsageError, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

Loaded = TypeVar("Loaded")

_REBUILD = "run `scap-ov build-extension`"
_SONAME = re.compile(rb"libopenvino\.so\.(\d+)\0")


def extension_path() -> Path:
    """Path of the extension library, after checking that it was built for the installed OpenVINO.

    :raises ExtensionError: there is no library, or it was built for another release.
    """
    path = library_path()
    check_release(path)
    return path


def loaded(load: Callable[[str], Loaded]) -> Loaded:
    """What `load` makes of the path of the library.

    :raises ExtensionError: there is no library, or it cannot be loaded.
    """
    path = extension_path()
    try:
        return load(str(path))
    except (RuntimeError, OSError, AttributeError) as e:
        msg = f"the extension library {path} cannot be loaded ({reason_of(e)}); {_REBUILD}"
        raise ExtensionError(msg) from e


def add_library(core: ov.Core) -> None:
    """Make a Core know the ops of the library; doing so twice does no harm.

    :raises ExtensionError: there is no library, or it cannot be loaded.
    :raises UsageError: it is no Core.
    """
    if not hasattr(core, "add_extension"):
        msg = f"core is of type {type(core).__name__}; give an openvino.Core"
        raise UsageError(msg)
    loaded(core.add_extension)


def check_release(path: str | PathLike[str]) -> None:
    """Compare the soname that the library asks for with that of the installed OpenVINO: it changes with every patch release.

    :raises ExtensionError: they differ, or the file cannot be read.
    """
    try:
        wanted = {match.decode() for match in _SONAME.findall(Path(path).read_bytes())}
    except OSError as e:
        msg = f"the extension library {path} cannot be read ({e.strerror}); {_REBUILD}"
        raise ExtensionError(msg) from e
    libraries = Path(ov.__file__).parent / "libs"
    present = {found.name.rpartition(".")[2] for found in libraries.glob("libopenvino.so.*")}
    if wanted and present and not wanted & present:
        msg = (f"the extension library {path} was built for OpenVINO {_release(wanted)}, installed is {_release(present)} "
               f"({ov.__version__.partition('-')[0]}); {_REBUILD}")  # fmt: skip
        raise ExtensionError(msg)


def implementation() -> str:
    """Name of the kernels that run on this CPU: the best that it supports, or the one that SCAP_OV_ISA names.

    :raises ExtensionError: the library is missing, or SCAP_OV_ISA names nothing that this CPU can run.
    """
    active = loaded(lambda path: ctypes.CDLL(path).scap_ov_active_implementation)
    active.restype = ctypes.c_char_p
    reason = ctypes.create_string_buffer(512)
    name = active(reason, ctypes.c_size_t(len(reason)))
    if name is None:
        raise ExtensionError(reason.value.decode())
    return str(name.decode())


def _release(numbers: set[str]) -> str:
    """libopenvino.so.2641 -> 2026.4.1: two digits of the year, then one of the release and one of the patch."""
    return " and ".join(sorted(f"20{n[:2]}.{n[2]}.{n[3:]}" if len(n) >= 4 else n for n in numbers))
