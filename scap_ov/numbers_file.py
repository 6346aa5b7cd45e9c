"""Read and write plans and profiles: safetensors with a JSON description. What is damaged or newer is told in a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from scap_ov.arguments import check_path
from scap_ov.atomic import new_file
from scap_ov.errors import OutputError, ScapError, UsageError, reason_of
from scap_ov.json_values import JsonObject


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    :param key: under which the description is kept.
    :param what: its name in messages.
    :param writer: what writes it, in messages.
    :param newest: highest version that is understood.
    """

    key: str
    what: str
    writer: str
    newest: int


def read_numbers(path: str | Path, kind: Kind) -> tuple[JsonObject, dict[str, np.ndarray]]:
    """The description and the arrays of a file.

    :raises UsageError: it is no such file, damaged, or of a newer version.
    """
    try:
        with check_path("path", path, f"a file that {kind.writer} wrote").open("rb"):
            pass  # safe_open says of every file that it cannot open that there is none
        with safe_open(str(path), framework="numpy") as f:
            text = (f.metadata() or {}).get(kind.key)
            tensors = {key: f.get_tensor(key) for key in f.keys()} if text else {}  # noqa: SIM118 - safe_open is no mapping
    except (OSError, SafetensorError) as e:
        msg = f"{path} cannot be read as a {kind.what} ({reason_of(e)}); give a file that {kind.writer} wrote"
        raise UsageError(msg) from e
    if text is None:
        msg = f"{path} is a safetensors file but no {kind.what}; give a file that {kind.writer} wrote"
        raise UsageError(msg)
    with told_if_damaged(path, kind):
        meta = json.loads(text)
        version = meta["version"]
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            msg = f"its version is {version!r}"
            raise ValueError(msg)
    if version > kind.newest:
        msg = f"{path} is a {kind.what} of version {version}, this scap_ov knows up to {kind.newest}; upgrade scap_ov"
        raise UsageError(msg)
    return meta, tensors


def write_numbers(path: str | Path, kind: Kind, meta: JsonObject, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a file that `read_numbers` reads; equal content gives equal bytes, and the file appears only when it is complete.

    :param meta: the description, with its `version`.
    :raises OutputError: writing failed.
    :raises UsageError: the path is none.
    """
    check_path("path", path, f"a file to write the {kind.what} to")
    try:
        with new_file(path) as part:
            save_file(
                {key: np.ascontiguousarray(value) for key, value in sorted(tensors.items())},
                str(part),
                metadata={kind.key: json.dumps(meta, sort_keys=True)},
            )
    except SafetensorError as e:
        msg = f"the {kind.what} cannot be written to {path} ({e}); give a path in an existing folder with room for it"
        raise OutputError(msg) from e


@contextmanager
def told_if_damaged(path: str | Path, kind: Kind) -> Iterator[None]:
    """Around the reading of a description: entries that are missing or of the wrong kind become one sentence.

    :raises UsageError: something was missing.
    """
    try:
        yield
    except ScapError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as e:
        why = f"it lacks {e.args[0]}" if isinstance(e, KeyError) and e.args else str(e) or type(e).__name__
        msg = f"{path} is a damaged {kind.what} ({why}); write it again with {kind.writer}"
        raise UsageError(msg) from e
