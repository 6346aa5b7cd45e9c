"""Write a tar archive: the same bytes for the same contents, names that are safe to unpack, complete or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from scap_ov.atomic import new_file
from scap_ov.errors import BadModelError, UsageError

if TYPE_CHECKING:
    from scap_ov.progress import Progress

SUFFIXES = (".tar.gz", ".tgz", ".tar")
SUMS = "SHA256SUMS"
_UNSAFE = ("Cc", "Cs", "Zl", "Zp", "Co", "Cn")  # Unicode's categories: what is no text, or would break a line


@dataclass(frozen=True)
class Member:
    """A file of the archive.

    :param name: relative, with forward slashes, below the archive's one top folder.
    :param source: a file that is read when it is its turn, or the contents.
    :param executable: whether it is a program.
    """

    name: str
    source: Path | bytes
    executable: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


def stem_of(path: str | Path) -> str:
    """The name of an archive without its suffix, which its top folder gets.

    :raises UsageError: the name does not end in one of SUFFIXES, or would be no safe name of a folder.
    """
    name = Path(path).name
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), None)
    stem = name[: -len(suffix)] if suffix else ""
    if not stem or not is_safe(stem):
        msg = f"the bundle is '{path}'; give a name that ends in {', '.join(SUFFIXES[:-1])} or, not compressed, {SUFFIXES[-1]}"
        raise UsageError(msg)
    return stem


def is_safe(name: str) -> bool:
    """Whether a name unpacks below the folder that it is unpacked in, and is one line of text to every tool."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or any(part in (".", "..") or part.startswith("-") for part in parts):
        return False
    return not any(unicodedata.category(c) in _UNSAFE for c in name)


def check_members(members: Sequence[Member]) -> None:
    """Refuse names that some tool would unpack elsewhere, or not at all.

    :raises BadModelError: a name is not safe, or two differ in case only.
    """
    seen: dict[str, str] = {}
    for member in members:
        if not is_safe(member.name):
            shown = member.name.encode("unicode_escape").decode()
            msg = f"the file name '{shown}' is not safe in an archive (a control character, a backslash or a leading dash); rename the file"
            raise BadModelError(msg)
        other = seen.setdefault(member.name.casefold(), member.name)
        if other != member.name:
            msg = f"{other} and {member.name} differ in upper and lower case only, and a device may know one name for both; rename one"
            raise BadModelError(msg)


def write_archive(members: Sequence[Member], path: str | Path, *, progress: Progress | None = None) -> int:
    """Write the members, sorted, and their SHA-256 sums as last member.

    No owner, no time and no mode of this machine is stored, so that equal contents give equal archives.

    :param path: ends in one of SUFFIXES, and must be writable: see `storage.outputs.check_files`.
    :param progress: called with (bytes so far, bytes).
    :return: bytes of the archive.
    :raises OutputError: reading or writing failed; nothing is left half-written.
    """
    top = stem_of(path)
    check_members(members)
    total, done, sums = sum(member.size for member in members), 0, []
    with new_file(path) as part:
        with _tar(part, compressed=not Path(path).name.lower().endswith(".tar")) as tar:
            for member in sorted(members, key=lambda m: m.name):
                digest = _add(tar, f"{top}/{member.name}", member)
                sums.append(f"{digest}  {member.name}\n")
                done += member.size
                if progress:
                    progress(done, total)
            _add(tar, f"{top}/{SUMS}", Member(SUMS, "".join(sums).encode()))
        return part.stat().st_size


@contextmanager
def _tar(path: Path, *, compressed: bool) -> Iterator[tarfile.TarFile]:
    with ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(path.open("wb"))
        if compressed:  # an empty name and time 0: gzip would store those of this run
            stream = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=stream, mtime=0))  # type: ignore[arg-type]
        yield stack.enter_context(tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT))


def _add(tar: tarfile.TarFile, name: str, member: Member) -> str:
    """:return: the SHA-256 of the contents, in hexadecimal."""
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if member.executable else 0o644
    with io.BytesIO(member.source) if isinstance(member.source, bytes) else member.source.open("rb") as file:
        info.size = member.size
        reader = _Hashing(file)
        tar.addfile(info, reader)  # type: ignore[arg-type]
        return reader.hash.hexdigest()


class _Hashing:
    """Reads a file for tarfile, and hashes what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        data = self._file.read(size)
        self.hash.update(data)
        return data
