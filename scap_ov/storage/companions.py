"""What goes with a model when its folder is copied: everything but the files of the model itself, as the model tells, and caches.

1. The model's own files are its .xml and .bin, or its .onnx and the files of its external tensors that no other model of the folder uses;
   the same weights in another format (model.safetensors, a GGUF file) at the top of the folder, and compiled caches of it.
2. A model that is given as a file in a folder that is no model folder (nothing there configures a model) goes alone.
3. Links are followed inside the folder, and into the blobs of the Hugging Face cache that it is a snapshot of. Others, dangling ones,
   loops, pipes and devices are left out, and told. Hidden files are left out.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scap_ov.errors import BadModelError
from scap_ov.storage.rt_info import CONFIG_FILE

# Any of them makes a folder a model folder, whose files belong together.
_CONFIGURES = ("config.json", "model_index.json", "genai_config.json", "generation_config.json", "modules.json", "*tokenizer*")
# The weights of the folder's model as transformers names them, which a pruned model does not share, and caches of what was compiled.
_OTHER_FORMATS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin",
                  "pytorch_model*.bin.index.json", "tf_model.h5", "flax_model.msgpack", "*.gguf")  # fmt: skip
_CACHES = ("model_cache", "*.cl_cache")


@dataclass
class Companions:
    """Files to copy beside a model.

    :param folder: that they are in, or None where the model goes alone.
    :param files: real path -> path relative to `folder`.
    :param folders: relative paths, empty ones among them.
    :param skipped: (relative path, reason) of what is left out and might be missed.
    :param size: bytes in all.
    """

    folder: Path | None
    files: list[tuple[Path, Path]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0

    def copy(self, target: Path) -> None:
        """Copy into a folder. Contents only: modes and owners are those of new files.

        :raises OSError: something cannot be read or written.
        """
        for folder in self.folders:
            (target / folder).mkdir(exist_ok=True)
        for source, place in self.files:
            shutil.copyfile(source, target / place)


def companions(model: Path, own: Iterable[Path], *, alone: bool = False) -> Companions:
    """What lies beside a model file and goes with it.

    :param model: an .xml or .onnx file.
    :param own: the files that hold nothing but this model, itself among them.
    :param alone: the file was given, not its folder. Rule 2.
    :raises BadModelError: a file or folder cannot be read.
    """
    if alone and not is_model_folder(model.parent):
        return Companions(None)
    found = Companions(model.parent)
    home = os.path.realpath(model.parent)
    stale = {os.path.relpath(path, model.parent) for path in own}
    stale |= {CONFIG_FILE, f"{model.stem}.blob"} | {n for n in _listed(model.parent) if _matches(n, _OTHER_FORMATS)}
    try:
        _walk(model.parent, Path(), found, stale, _roots(home), (home,))
    except OSError as e:
        msg = f"{e.filename} cannot be read ({e.strerror}), and goes with the model; make it readable, or move it away"
        raise BadModelError(msg) from e
    return found


def is_model_folder(folder: Path) -> bool:
    """Whether something in the folder configures a model, a tokenizer or a pipeline."""
    return any(_matches(name, _CONFIGURES) for name in _listed(folder))


def told(found: Companions) -> Iterator[str]:
    """What was left out, in a sentence each."""
    for name, why in found.skipped:
        yield f"{name} is not copied: it is {why}"


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as e:
        msg = f"the folder {folder} cannot be read ({e.strerror}); make it readable"
        raise BadModelError(msg) from e


def _roots(home: str) -> tuple[str, ...]:
    """Real folders that links may lead into. Rule 3: snapshots/<revision>/file -> ../../blobs/<hash>."""
    return (home, *(str(parent.parent / "blobs") for parent in Path(home).parents if parent.name == "snapshots"))


def _walk(folder: Path, place: Path, found: Companions, stale: set[str], roots: tuple[str, ...], above: tuple[str, ...]) -> None:
    with os.scandir(folder) as items:
        entries = sorted(items, key=lambda item: item.name)
    for item in entries:
        relative, real = place / item.name, os.path.realpath(item.path)
        if item.name.startswith(".") or _matches(item.name, _CACHES) or str(relative) in stale:
            continue
        why = _left_out(item, real, roots, above)
        if why is not None:
            found.skipped.append((str(relative), why))
        elif Path(real).is_dir():
            found.folders.append(relative)
            _walk(Path(item.path), relative, found, stale, roots, (*above, real))
        else:
            with open(real, "rb"):  # noqa: PTH123 - readable? Told before the work
                found.files.append((Path(real), relative))
            found.size += Path(real).stat().st_size


def _left_out(item: os.DirEntry[str], real: str, roots: tuple[str, ...], above: tuple[str, ...]) -> str | None:
    """Why an entry is not copied, or None."""
    if item.is_symlink():
        if not Path(real).exists():
            return f"a link to {Path(item.path).readlink()}, which is not there"
        if real in above:
            return "a link to a folder that it is in"
        if not any(real == root or real.startswith(f"{root}/") for root in roots):
            return f"a link to {real}, outside the model's folder"
    mode = Path(real).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return "neither a file nor a folder"
    return None
