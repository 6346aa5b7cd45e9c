"""Open model folders, and write complete ones atomically: a killed run or a full disk leaves the old state or nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import openvino as ov

from scap_ov.custom_ops import OP_NAME
from scap_ov.errors import BadModelError, ExtensionError, OutputError
from scap_ov.passes.onnx.openvino_functions import conversions
from scap_ov.storage import rt_info
from scap_ov.storage.aligned import save_aligned

MODEL_FILE = "openvino_model.xml"
# Left behind when a folder is copied through: the weights that are rewritten, other formats' weights, and caches.
_NOT_COPIED_NAMES = frozenset({MODEL_FILE, "openvino_model.bin", rt_info.CONFIG_FILE, "model_cache"})
_NOT_COPIED_SUFFIXES = frozenset({".gguf", ".safetensors", ".onnx", ".onnx_data", ".pt", ".pth", ".blob", ".cl_cache", ".h5", ".msgpack"})


def model_file(path: str | Path) -> Path:
    """The model file that `path` means: the .xml or .onnx itself, or openvino_model.xml of a folder.

    :raises BadModelError: there is no such file or folder, or the folder holds no openvino_model.xml.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / MODEL_FILE).is_file():
            other = sorted(p.name for p in path.glob("*.xml")) or sorted(p.name for p in path.glob("*.onnx"))
            hint = (
                f"it has {', '.join(other[:3])}, whose path can be given itself" if other else "export one with optimum-cli export openvino"
            )
            msg = f"the folder {path} has no {MODEL_FILE}; {hint}"
            raise BadModelError(msg)
        path = path / MODEL_FILE
    elif not path.exists():
        msg = f"there is no file or folder {path}; give a model folder with {MODEL_FILE}, an .xml or an .onnx"
        raise BadModelError(msg)
    if path.suffix.lower() == ".xml" and not path.with_suffix(".bin").is_file():
        msg = f"{path} has no {path.with_suffix('.bin').name} beside it, which holds the weights; copy it there or export again"
        raise BadModelError(msg)
    if path.suffix.lower() not in (".xml", ".onnx"):
        msg = f"{path} is neither a model folder nor an .xml or .onnx file; give one of these"
        raise BadModelError(msg)
    return path


def is_lowered_file(xml: Path) -> bool:
    """Whether the .xml holds scap_ov::SparseMatMul, and so needs the extension library to be read."""
    with xml.open("rb") as f:
        tail = b""
        while piece := f.read(1 << 20):
            if f'type="{OP_NAME}"'.encode() in tail + piece:
                return True
            tail = piece[-32:]
    return False


def read_model(path: str | Path, core: ov.Core | None = None) -> ov.Model:
    """Read the model of a folder or an .xml, with the extension library registered when the model needs it.

    :param core: the Core to read with; a new one by default.
    :raises BadModelError: there is no model, or OpenVINO cannot read it.
    :raises ExtensionError: the model is in lowered form and the library is not there.
    """
    xml = model_file(path)
    core = core or ov.Core()
    if xml.suffix.lower() == ".xml" and is_lowered_file(xml):
        from scap_ov.runtime import register  # here, so that stock and portable models need no library

        register(core)
    if xml.suffix.lower() == ".onnx":
        for conversion in conversions():
            core.add_extension(conversion)
    try:
        return core.read_model(str(xml))
    except RuntimeError as e:
        text = [line.strip() for line in str(e).splitlines() if line.strip()]
        if OP_NAME in str(e):
            msg = f"{xml} needs the extension library, which is not registered; run `scap-ov build-extension`, or use the portable form"
            raise ExtensionError(msg) from e
        msg = f"OpenVINO cannot read {xml} ({text[-1] if text else 'no reason given'}); export the model again"
        raise BadModelError(msg) from e


def check_output(folder: str | Path) -> Path:
    """Refuse an output folder that exists and is not empty, before any long work starts.

    :raises OutputError: it is a file, or not empty, or cannot be listed.
    """
    folder = Path(folder)
    try:
        if folder.exists() and not folder.is_dir():
            msg = f"the output {folder} is a file; give the name of a new folder"
            raise OutputError(msg)
        if folder.is_dir() and any(folder.iterdir()):
            msg = f"the output folder {folder} is not empty; give the name of a new folder"
            raise OutputError(msg)
    except OSError as e:
        msg = f"the output folder {folder} cannot be used ({e.strerror}); give another one"
        raise OutputError(msg) from e
    return folder


@contextlib.contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary sibling to fill; it takes the name `folder` when the block ends well, and vanishes when it does not.

    :raises OutputError: the output exists and is not empty, or cannot be written.
    """
    folder = check_output(folder)
    scratch: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
        yield scratch
        os.chmod(scratch, 0o777 & ~_umask())
        _sync(scratch)
        if folder.is_dir():
            folder.rmdir()  # empty, as checked
        os.rename(scratch, folder)
        _sync(folder.parent, recursive=False)
    except OSError as e:
        msg = f"writing the folder {folder} failed ({e.strerror or e}); free some space or choose another place"
        raise OutputError(msg) from e
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)


def write_model_folder(model: ov.Model, source: Path | None, folder: str | Path) -> Path:
    """Write a complete model folder: the model with aligned weights, scap_config.json, and what `source` holds beside its model.

    :param source: the folder the stock model came from (tokenizers, configs, generation_config are copied), or None.
    :raises OutputError: the folder is not empty or cannot be written; nothing is left half-written.
    """
    with new_folder(folder) as scratch:
        if source is not None:
            copy_companions(source, scratch)
        save_aligned(model, scratch / MODEL_FILE)
        rt_info.write_config_file(model, scratch)
    return Path(folder)


def copy_companions(source: Path, target: Path) -> None:
    """Copy tokenizers, configs and other models of the folder, without the main model, foreign weights and caches."""

    def unwanted(_directory: str, names: list[str]) -> list[str]:
        return [n for n in names if n in _NOT_COPIED_NAMES or n.startswith(".") or Path(n).suffix.lower() in _NOT_COPIED_SUFFIXES]

    shutil.copytree(source, target, ignore=unwanted, dirs_exist_ok=True)


def _sync(path: Path, *, recursive: bool = True) -> None:
    """Flush files and directories, so that the rename does not come before the contents after a power cut."""
    for item in [path, *(path.rglob("*") if recursive else ())]:
        handle = os.open(item, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
