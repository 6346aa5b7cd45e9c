"""Files and folders that appear only when they are complete; what a killed run left is removed by the next run that writes the same."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scap_ov.errors import OutputError

_SUFFIX = ".partial"
_LONGEST = 200  # bytes of the name that a scratch folder's own name repeats: 255 are allowed in all
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A path to write to. It takes the place of `path` when the block ends well; when it does not, `path` is as it was before.

    A link is followed; a device or pipe such as /dev/null gets the bytes. A file that is replaced keeps its mode, a new one has that of any
    new file.

    :raises OutputError: an operation of the block, or the replacement, failed.
    """
    path = Path(path)
    try:
        if is_special(path):
            with tempfile.TemporaryDirectory() as folder:
                part = Path(folder) / "output"
                yield part
                with path.open("wb") as out:
                    out.write(part.read_bytes())
            return
        target = Path(os.path.realpath(path))
        with scratch_folder(target) as scratch:
            part = scratch / target.name
            yield part
            os.chmod(part, stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask())  # safetensors writes 0600
            sync(part)
            os.replace(part, target)
            sync(target.parent)
    except OSError as e:
        raise OutputError(_failed(path, e)) from e


@contextlib.contextmanager
def new_folder(folder: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """A scratch folder to fill. It becomes `folder` when the block ends well, and vanishes when it does not.

    1. A folder that is not there, or is empty, is replaced by the complete one in one step.
    2. Where that cannot be (the current folder, a mount point, a parent that cannot be written), the scratch folder lies inside, and what
       it holds moves up at the end, the models last.

    :param folder: not there, or an empty folder, or a link to one; see `outputs.check_folder`.
    :param replace: a folder with contents is replaced.
    :raises OutputError: an operation of the block, or the renaming, failed.
    """
    final = Path(os.path.realpath(folder))
    made: list[Path] = []
    try:
        made = _make_parents(final)
        inside = final.is_dir() and must_be_filled_in_place(final)
        with scratch_folder(final, inside=inside) as scratch:
            yield scratch
            os.chmod(scratch, stat.S_IMODE(final.stat().st_mode) if final.is_dir() else 0o777 & ~_umask())
            for item in scratch.rglob("*"):
                if item.is_file():
                    sync(item)
            sync(scratch)
            if inside:
                _move_up(scratch, final, replace=replace)
            else:
                _rename(scratch, final, replace=replace)
        sync(final.parent)
        made = []
    except OSError as e:
        raise OutputError(_failed(folder, e)) from e
    finally:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


@contextlib.contextmanager
def scratch_folder(target: Path, *, inside: bool = False) -> Iterator[Path]:
    """A folder of our own beside `target`, or inside it, that is removed in the end. While it is in use it is locked.

    :raises OSError: it cannot be made.
    """
    place = target if inside else target.parent
    remove_leftovers(target, inside=inside)
    scratch, lock = _locked(place, _prefix(target))
    try:
        yield scratch
    finally:
        _remove(scratch)
        os.close(lock)


def remove_leftovers(target: Path, *, inside: bool = False) -> None:
    """Remove the scratch folders that runs for the same target left when they were killed, and name them."""
    for left in leftovers(target, target if inside else target.parent):
        with contextlib.suppress(OSError):
            lock = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while a run that is alive uses it
                if _remove(left):
                    _log.warning("removed %s, which a run that was killed had left", left)
            finally:
                os.close(lock)


def leftovers(target: Path, place: Path) -> list[Path]:
    """Scratch folders for `target` in the folder `place`, in use or not."""
    pattern = re.compile(re.escape(_prefix(target)) + r"[a-z0-9_]{8}" + re.escape(_SUFFIX))
    try:
        return sorted(p for p in place.iterdir() if pattern.fullmatch(p.name) and p.is_dir() and not p.is_symlink())
    except OSError:
        return []


def must_be_filled_in_place(folder: Path) -> bool:
    """Whether an empty folder cannot be replaced by another: it is the current one, a mount point, or its parent cannot be written."""
    here = Path.cwd()
    return here == folder or folder in here.parents or os.path.ismount(folder) or not os.access(folder.parent, os.W_OK | os.X_OK)


def is_special(path: Path) -> bool:
    """Whether a path names a device, a pipe or a descriptor: something to write into, never to replace."""
    if path.is_absolute() and path.parts[1:2] in (("dev",), ("proc",)):
        return path.exists() and not path.is_dir()
    return path.exists() and not path.is_file() and not path.is_dir()


def sync(path: Path) -> None:
    """Flush a file or folder, so that a rename does not come before the contents after a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> bool:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as e:
        _log.warning("%s is left behind (%s); remove it by hand", folder, e.strerror)
        return False
    return True


def _locked(place: Path, prefix: str) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock. Another run may take it for a leftover before it is locked: then once more."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=prefix, suffix=_SUFFIX, dir=place))
        try:
            lock = os.open(scratch, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        except OSError:
            pass  # a file system without locks: nobody else gets one either, so that nothing is removed
        if scratch.exists():
            return scratch, lock
        os.close(lock)


def _prefix(target: Path) -> str:
    name = os.fsencode(target.name)[:_LONGEST]
    return f".{os.fsdecode(name)}."


def _make_parents(folder: Path) -> list[Path]:
    """Make the folders above; return those that were not there, innermost first."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
    return missing


def _rename(scratch: Path, final: Path, *, replace: bool) -> None:
    """One step where `final` is empty or not there: rename(2) replaces an empty folder."""
    if not (replace and final.is_dir() and any(final.iterdir())):
        os.rename(scratch, final)
        return
    with scratch_folder(final) as old:
        os.rename(final, old)
        try:
            os.rename(scratch, final)
        except BaseException:
            os.rename(old, final)
            raise


def _move_up(scratch: Path, final: Path, *, replace: bool) -> None:
    if replace:
        for item in final.iterdir():
            if item != scratch:
                shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
    for item in sorted(scratch.iterdir(), key=lambda p: p.suffix in (".xml", ".onnx")):
        os.rename(item, final / item.name)


def _failed(path: str | Path, error: OSError) -> str:
    cure = "free some space or choose another place" if error.errno in (errno.ENOSPC, errno.EDQUOT, None) else "choose another place"
    return f"writing {path} failed ({error.strerror or error}); {cure}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
