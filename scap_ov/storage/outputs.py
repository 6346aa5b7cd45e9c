"""Refuse outputs that could not be written, before the work that they are for: of every command, every file and folder."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scap_ov.atomic import is_special, leftovers, must_be_filled_in_place
from scap_ov.errors import OutputError
from scap_ov.storage.rt_info import CONFIG_FILE

_PROBE = ".scap_ov."  # folders that are made to see whether one can be


def check_files(
    outputs: Mapping[str, str | Path | None], *, overwrite: bool = False, inputs: Mapping[str, str | Path | None] | None = None
) -> None:
    """Refuse the files that a command is to write, all of them, before it starts.

    1. A file that is there is replaced with `overwrite` only, and a folder never.
    2. A file that the command reads is never replaced, nor is one file written twice.
    3. The folder must be there, and a file can be made in it.

    :param outputs: option or role -> path; None where it was not given.
    :param inputs: the same of what is read.
    :raises OutputError: one cannot be written.
    """
    seen = {_identity(path): f"it is the file that {name} reads" for name, path in (inputs or {}).items() if path is not None}
    for name, path in outputs.items():
        if path is None:
            continue
        try:
            if is_special(Path(path)):
                continue
            key = _identity(path)
            why = f"{seen[key]}; give another one" if key in seen else _check_file(Path(path), overwrite=overwrite)
        except (OSError, ValueError) as e:
            why = f"it cannot be written ({getattr(e, 'strerror', None) or e}); give another file"
        if why is not None:
            msg = f"{name} {path}: {why}"
            raise OutputError(msg)
        seen[key] = f"it is the file that {name} writes"


def check_folder(folder: str | Path, *, source: Path | None = None, overwrite: bool = False, size: int = 0) -> Path:
    """Refuse an output folder that could not be written, before any long work starts.

    1. It is not there, or an empty folder, or a link to one; with `overwrite` also one that scap_ov wrote.
    2. It lies outside the folder that it is made from, whose files are copied.
    3. A folder can be made in its place, and the disk has room, as far as can be told.

    :param source: folder that is copied, or None.
    :param size: bytes that will be needed.
    :raises OutputError: it cannot be used.
    """
    if not str(folder):
        msg = "the name of the output folder is empty; give the name of a new folder"
        raise OutputError(msg)
    folder = Path(folder)
    try:
        _check_folder(folder, overwrite=overwrite)
        final = Path(os.path.realpath(folder))
        if source is not None and Path(os.path.realpath(source)) in (final, *final.parents):
            msg = f"the output folder {folder} is inside the model's folder {source}, which is copied into it; give a folder outside"
            raise OutputError(msg)
        place = _probe(final)
        free = shutil.disk_usage(place).free
    except (OSError, ValueError) as e:
        msg = f"the output folder {folder} cannot be used ({getattr(e, 'strerror', None) or e}); give another one"
        raise OutputError(msg) from e
    if size > free:
        msg = (f"writing {folder} needs about {size / 1e6:.0f} MB for some time, and {place} has {free / 1e6:.0f} MB left; "
               "free some space or choose another place")  # fmt: skip
        raise OutputError(msg)
    return folder


def _check_file(path: Path, *, overwrite: bool) -> str | None:
    """Why the file cannot be written, or None."""
    final = Path(os.path.realpath(path))
    if final.is_dir():
        return "it is a folder; give the name of a file"
    if not final.parent.exists():
        return "its folder does not exist; create it first"
    if not final.parent.is_dir():
        return f"{final.parent} is a file, not a folder; give another one"
    if final.exists() and not overwrite:
        return "the file exists already; give a new one, or --overwrite to replace it"
    _check_name(final)
    _probe_in(final.parent)
    return None


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    if folder.is_symlink() and not folder.exists():
        msg = f"the output {folder} is a link to {folder.readlink()}, which is not there; create that folder or give another output"
        raise OutputError(msg)
    if folder.exists() and not folder.is_dir():
        msg = f"the output {folder} is a file; give the name of a new folder"
        raise OutputError(msg)
    final = Path(os.path.realpath(folder))
    if not final.is_dir():
        return
    own = {*leftovers(final, final)}
    if any(item not in own for item in final.iterdir()) and not (overwrite and (final / CONFIG_FILE).is_file()):
        cure = "--overwrite replaces folders that hold a scap_config.json only" if overwrite else "give the name of a new folder"
        msg = f"the output folder {folder} is not empty; {cure}"
        raise OutputError(msg)


def _probe(final: Path) -> Path:
    """Make and remove a folder where the output will be made. :return: the folder that was written in."""
    place = final if final.is_dir() and must_be_filled_in_place(final) else final.parent
    while not place.exists():
        _check_name(place)
        place = place.parent
    _check_name(final)
    _probe_in(place)
    return place


def _probe_in(place: Path) -> None:
    """Write something into a folder that nobody sees: a file without a name, which a run that is killed does not leave behind."""
    try:
        os.close(os.open(place, os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError as e:
        if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):  # the file system knows no such files
            raise
        for left in place.glob(f"{_PROBE}????????"):
            with contextlib.suppress(OSError):
                left.rmdir()
        with tempfile.TemporaryDirectory(prefix=_PROBE, dir=place):
            pass


def _check_name(path: Path) -> None:
    """A name that is too long for the file system is refused by looking for it."""
    try:
        path.lstat()
    except FileNotFoundError:
        return


def _identity(path: str | Path) -> object:
    real = Path(os.path.realpath(path))
    try:
        found = real.stat()
    except (OSError, ValueError):
        return str(real)
    return found.st_dev, found.st_ino
