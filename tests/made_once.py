"""Exports that several tests read, made once and kept in build/made: by tests, sessions and xdist workers.

A folder is named after what it is made of, so one that is there is never out of date; it takes its name when it is complete, so a run that
is cut short leaves nothing to be reused. Tests must not write into it. SCAP_OV_MADE names another place; `make clean` removes all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import mkdtemp

HOME = Path(os.environ.get("SCAP_OV_MADE") or Path(__file__).parents[1] / "build" / "made")
PACKAGES = ("openvino", "openvino-genai", "openvino-tokenizers", "optimum-intel", "optimum", "transformers", "torch", "nncf")


def made_once(name: str, ingredients: object, make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills, which is given an empty one; the same folder for the same name and ingredients.

    :param ingredients: what the result depends on beside the installed packages; its repr is hashed. Paths of files stand for their text.
    """
    folder = place(name, ingredients)
    with lock(folder):
        if not folder.is_dir():
            scratch = Path(mkdtemp(prefix=f".{name}.", dir=HOME))
            try:
                make(scratch)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


def place(name: str, ingredients: object) -> Path:
    """Where something is kept, whether it is there or not."""
    HOME.mkdir(parents=True, exist_ok=True)
    parts = ingredients if isinstance(ingredients, (list, tuple)) else [ingredients]
    text = [part.read_text(encoding="utf-8") if isinstance(part, Path) else repr(part) for part in parts]
    digest = hashlib.sha256(repr((text, [release(package) for package in PACKAGES])).encode()).hexdigest()
    return HOME / f"{name}-{digest[:16]}"


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """One process at a time; the lock of a process that was killed is gone."""
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
