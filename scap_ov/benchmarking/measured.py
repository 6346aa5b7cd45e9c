"""What was measured on this machine before: one small JSON file in the user's cache folder for each machine and build of the library.

1. A file holds for one processor, number of cores, kernels, OpenVINO release and extension library; any other begins a file of its own.
2. The cache only saves time. A file that is damaged is told of and measured anew; a folder that cannot be written is told of once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

import openvino as ov

from scap_ov.atomic import new_file
from scap_ov.custom_ops import library_path
from scap_ov.custom_ops.library import implementation
from scap_ov.errors import OutputError

VERSION = 1
_log = logging.getLogger(__name__)


class Measurements:
    """Numbers by what they are of; each is measured once on a machine.

    :param file: where they are kept, by default `cache_file()`, which is asked for when the first number is wanted.
    :param again: measure everything anew, and replace what the file holds.
    """

    def __init__(self, file: Path | None = None, *, again: bool = False) -> None:
        self.file = file
        self.reused = 0
        self.measured = 0
        self._again = again
        self._known: dict[str, float] | None = None
        self._fresh: dict[str, float] = {}

    def number(self, key: Mapping[str, object], measure: Callable[[], float]) -> float:
        """The number that was measured before for this key, or what `measure` gives now.

        :param key: plain values that say all that the number depends on beside the machine.
        """
        if self._known is None:
            self.file = self.file or cache_file()
            self._known = {} if self._again else self._read()
        name = json.dumps(key, sort_keys=True)
        if name in self._known:
            self.reused += 1
            return self._known[name]
        value = measure()
        self.measured += 1
        self._known[name] = self._fresh[name] = value
        self._write()
        return value

    def _read(self, *, tell: bool = True) -> dict[str, float]:
        if self.file is None:
            return {}
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            numbers = content["numbers"]
            if content["version"] == VERSION and all(_is_number(value) for value in numbers.values()):
                return dict(numbers)
            reason = "they are not in the form of this version"
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            reason = type(e).__name__
        if tell:
            _log.warning("the measurements in %s cannot be used (%s); measured anew", self.file, reason)
        return {}

    def _write(self) -> None:
        if self.file is None:
            return
        numbers = {**self._read(tell=False), **self._fresh}  # another process may have written meanwhile
        content = {"version": VERSION, "machine": machine(), "numbers": numbers}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with new_file(self.file) as part:
                part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        except (OSError, OutputError) as e:
            _log.warning("measurements are not kept for the next run (%s)", e)
            self.file = None


def number_of(measured: Measurements | None, key: Mapping[str, object], measure: Callable[[], float]) -> float:
    """As `Measurements.number`; measured every time where nothing is kept."""
    return measure() if measured is None else measured.number(key, measure)


def cache_file() -> Path | None:
    """The file of this machine and library below $XDG_CACHE_HOME, or ~/.cache; None where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"  # a relative one is to be ignored
    except RuntimeError:
        return None
    digest = hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()
    return folder / "scap_ov" / f"measured-{digest[:16]}.json"


def machine() -> dict[str, object]:
    """What a speed depends on beside the model: processor, cores, kernels, OpenVINO, and the bytes of the extension library.

    :raises ExtensionError: there is no library.
    """
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernels": implementation(),
        "openvino": ov.__version__,
        "library": hashlib.sha256(library_path().read_bytes()).hexdigest()[:16],
    }


def _processor() -> str:
    """Name and stepping: virtual machines often give many processors one name."""
    wanted = ("model name", "cpu family", "model", "stepping")
    found: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in wanted:
                found.setdefault(key.strip(), value.strip())
    except OSError:
        return platform.processor()
    return ", ".join(found.get(key, "") for key in wanted)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
