"""Hidden states at the borders between blocks, last in, first out; beyond a few megabytes they lie in a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import IO

import numpy as np

from scap_ov.errors import OutputError

IN_MEMORY = 64 << 20  # bytes


class Borders:
    """A stack of lists of float32 arrays.

    :param in_memory: bytes after which arrays go to a file without a name, which the system removes with the process.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._left = in_memory
        self._levels: list[list[np.ndarray | tuple[int, tuple[int, ...]]]] = []
        self._file: IO[bytes] | None = None

    def push(self, arrays: Sequence[np.ndarray]) -> None:
        """Keep what lies at one border.

        :raises OutputError: the temporary folder has no room.
        """
        level: list[np.ndarray | tuple[int, tuple[int, ...]]] = []
        for array in arrays:
            self._left -= array.nbytes
            level.append(array if self._left >= 0 else self._write(array))
        self._levels.append(level)

    def pop(self) -> list[np.ndarray]:
        """What was kept last."""
        return [item if isinstance(item, np.ndarray) else self._read(*item) for item in self._levels.pop()]

    def _write(self, array: np.ndarray) -> tuple[int, tuple[int, ...]]:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this
            start = self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(array, np.float32).data)
        except OSError as e:
            msg = f"the hidden states do not fit into {tempfile.gettempdir()} ({e.strerror}); set TMPDIR to a folder with more room"
            raise OutputError(msg) from e
        return start, array.shape

    def _read(self, start: int, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape, np.float32)
        if self._file is not None:
            self._file.seek(start)
            self._file.readinto(array.data)  # type: ignore[attr-defined]
        return array
