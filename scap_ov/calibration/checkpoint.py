"""What an interrupted measurement has found so far, in one file that belongs to one model, data and settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from scap_ov.arguments import check_path
from scap_ov.atomic import new_file
from scap_ov.errors import OutputError
from scap_ov.storage.outputs import check_files

_MARK, _VERSION = "scap_ov_checkpoint", 2


class Checkpoint:
    """Arrays by name. Without a path they are in memory only.

    :param path: the file; what an interrupted run left in it is taken over.
    :param key: what was measured, in plain JSON values.
    :raises OutputError: the file is no checkpoint, or one of another measurement.
    """

    def __init__(self, path: str | Path | None, key: list[object]) -> None:
        self._path = None if path is None else Path(path)
        self._head = json.dumps({"version": _VERSION, "key": key}, sort_keys=True)
        self.arrays: dict[str, np.ndarray] = {}
        held = None if self._path is None else check_checkpoint(self._path)
        if held is None:
            return
        if held != self._head:
            msg = f"the checkpoint {path} is of another model, other data or options; give another file, or delete it"
            raise OutputError(msg)
        with safe_open(str(self._path), framework="numpy") as f:
            self.arrays = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - safe_open is no mapping

    def put(self, arrays: dict[str, np.ndarray]) -> None:
        """Keep these arrays in place of those before.

        :raises OutputError: writing failed; the file is then as it was.
        """
        self.arrays = arrays
        if self._path is None:
            return
        with new_file(self._path) as part:
            try:
                save_file({name: np.asarray(a, order="C") for name, a in arrays.items()}, str(part), metadata={_MARK: self._head})
            except SafetensorError as e:
                raise OSError(str(e)) from e

    def remove(self) -> None:
        """All is measured."""
        self.arrays = {}
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def check_checkpoint(path: str | Path) -> str | None:
    """What a checkpoint says it is of, or None where there is no file yet. Any other file is left as it is.

    :raises OutputError: the file is no checkpoint, or cannot be written.
    """
    path = check_path("checkpoint", path, "a file in a folder that can be written")
    if path.is_dir():
        msg = f"the checkpoint {path} is a folder; give a file, which is made, and removed when all is measured"
        raise OutputError(msg)
    check_files({"checkpoint": path}, overwrite=True)
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="numpy") as f:
            head = (f.metadata() or {}).get(_MARK)
    except (OSError, SafetensorError) as e:
        msg = f"{path} is no checkpoint of a calibration, or a damaged one ({e}); give another file, or delete it to measure anew"
        raise OutputError(msg) from e
    if head is None:
        msg = f"{path} is no checkpoint of a calibration; give another file, which is made, and removed when all is measured"
        raise OutputError(msg)
    try:
        version = json.loads(head)["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        msg = f"{path} is a damaged checkpoint; give another file, or delete it to measure anew"
        raise OutputError(msg) from e
    if version != _VERSION:
        msg = f"{path} is a checkpoint of version {version!r}, this scap_ov goes on from version {_VERSION}; delete it to measure anew"
        raise OutputError(msg)
    return str(head)
