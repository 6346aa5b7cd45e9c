"""The file in which an interrupted measurement of sensitivity is kept: losses by `site@level`, of one model, its data and levels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scap_ov.atomic import new_file
from scap_ov.errors import OutputError

_VERSION = 1


class Checkpoint:
    """Measured losses. Without a path they are in memory only.

    :param path: the file; what an interrupted run left in it is taken over.
    :param key: what the losses were measured on, in plain JSON values.
    :raises OutputError: the file is no checkpoint, or one of another model, data or levels.
    """

    def __init__(self, path: str | Path | None, key: list[Any]) -> None:
        self._path = None if path is None else Path(path)
        self._head = {"version": _VERSION, "key": json.loads(json.dumps(key))}
        self.losses: dict[str, float] = {}
        held = None if self._path is None else check_checkpoint(self._path)
        if held is not None:
            if {name: held.get(name) for name in self._head} != self._head:
                msg = f"the checkpoint {path} is of another model, other data or levels; give another file, or delete it"
                raise OutputError(msg)
            self.losses = held["losses"]

    def put(self, key: str, loss: float) -> None:
        """Keep one measurement.

        :raises OutputError: writing failed.
        """
        self.losses[key] = loss
        if self._path is not None:
            with new_file(self._path) as part:
                part.write_text(json.dumps({**self._head, "losses": self.losses}), encoding="utf-8")

    def remove(self) -> None:
        """All is measured."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def check_checkpoint(path: str | Path) -> dict[str, Any] | None:
    """What a checkpoint holds, or None where there is no file yet. Any other file is left as it is.

    :raises OutputError: the file is no checkpoint.
    """
    try:
        held = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as e:
        msg = f"the checkpoint {path} cannot be read ({getattr(e, 'strerror', None) or e}); give another file, or delete it to measure anew"
        raise OutputError(msg) from e
    losses = held.get("losses") if isinstance(held, dict) and {"version", "key"} <= held.keys() else None
    if not isinstance(losses, dict) or not all(isinstance(loss, float) for loss in losses.values()):
        msg = f"{path} is no checkpoint of a calibration; give another file, which is made, and removed when all is measured"
        raise OutputError(msg)
    return dict(held)
