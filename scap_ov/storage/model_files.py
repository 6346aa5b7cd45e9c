"""Find the model file that a path means. Folders keep the file names that exporters chose, so a folder is asked what it holds."""

from __future__ import annotations

import html
import re
from pathlib import Path

from scap_ov.arguments import check_type
from scap_ov.custom_ops import OP_NAMES
from scap_ov.errors import BadModelError

MODEL_FILE = "openvino_model.xml"
ONNX_FILE = "model.onnx"
_LEVEL_NAME = re.compile(rb'level_model="([^"]*)"')
_KINDS = ((".xml", MODEL_FILE), (".onnx", ONNX_FILE))


def model_file(path: str | Path) -> Path:
    """The model file that `path` means: the .xml or .onnx itself, or the model of a folder.

    1. In a folder that is openvino_model.xml, else its only .xml of a model, tokenizers apart; else model.onnx, or its only .onnx.
    2. A folder with several models of other names is refused, for the user knows which one is meant.

    :raises BadModelError: there is no such file or folder, or the folder holds no model, or several.
    :raises UsageError: it is no path.
    """
    check_type("the path of the model", path, (str, Path), f"a model folder with {MODEL_FILE}, an .xml or an .onnx")
    if not str(path):
        msg = f"the path of the model is empty; give a model folder with {MODEL_FILE}, such as '.', an .xml or an .onnx"
        raise BadModelError(msg)
    path = Path(path)
    try:
        if path.is_dir():
            path = _model_of(path)
        elif not path.exists():
            msg = f"there is no file or folder {path}; give a model folder with {MODEL_FILE}, an .xml or an .onnx"
            raise BadModelError(msg)
    except OSError as e:
        msg = f"{path} cannot be read ({e.strerror}); give a model folder, an .xml or an .onnx that can"
        raise BadModelError(msg) from e
    if path.suffix.lower() == ".xml" and not path.with_suffix(".bin").is_file():
        msg = f"{path} has no {path.with_suffix('.bin').name} beside it, which holds the weights; copy it there or export again"
        raise BadModelError(msg)
    if path.suffix.lower() not in (".xml", ".onnx"):
        msg = f"{path} is neither a model folder nor an .xml or .onnx file; give one of these"
        raise BadModelError(msg)
    return path


def _model_of(folder: Path) -> Path:
    for suffix, usual in _KINDS:
        if (folder / usual).is_file():
            return folder / usual
        found = _models(folder, suffix)
        if len(found) == 1:
            return found[0]
        if found:
            likely = next((model for model in found if "language" in model.stem or "decoder" in model.stem), found[0])
            msg = f"the folder {folder} has several models: {', '.join(m.name for m in found)}; give the path of one, such as {likely}"
            raise BadModelError(msg)
    below = [model.parent for _, usual in _KINDS for model in sorted(folder.glob(f"*/{usual}"))]
    hint = f"there is one in {below[0]}" if below else "export one with optimum-cli export openvino"
    msg = f"the folder {folder} has no {MODEL_FILE} and no other model; {hint}"
    raise BadModelError(msg)


def _models(folder: Path, suffix: str) -> list[Path]:
    """Models of a folder by their contents; tokenizers, which are models to OpenVINO too, are told by their names."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == suffix and path.is_file())
    if suffix == ".xml":
        found = [path for path in found if "tokenizer" not in path.stem and b"<net" in _head(path)]
    return found


def _head(path: Path) -> bytes:
    with path.open("rb") as f:
        return f.read(4096)


def is_lowered_file(xml: Path) -> bool:
    """Whether the .xml holds an op of ours, and so needs the extension library to be read."""
    with xml.open("rb") as f:
        tail = b""
        while piece := f.read(1 << 20):
            if any(f'type="{name}"'.encode() in tail + piece for name in OP_NAMES):
                return True
            tail = piece[-32:]
    return False


def level_name(xml: Path) -> str | None:
    """The name by which levels of a model are chosen, or None where its file has none; read from its head, where the first ops stand."""
    with xml.open("rb") as f:
        tail = b""
        while piece := f.read(1 << 20):
            found = _LEVEL_NAME.search(tail + piece)
            if found:
                return html.unescape(found[1].decode())
            tail = piece[-4096:]
    return None
