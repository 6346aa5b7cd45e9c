"""A folder in which a model has the name that openvino-genai looks for, made of links: folders keep the names of their exporters."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scap_ov.storage.model_files import MODEL_FILE


@contextlib.contextmanager
def linked_folder(model: Path) -> Iterator[Path]:
    """The model's own folder where it is openvino_model.xml there; else a temporary one in which it is, beside all that lies beside it.

    :param model: the .xml.
    """
    if model.name == MODEL_FILE:
        yield model.parent
        return
    names = {model.name: MODEL_FILE, model.with_suffix(".bin").name: Path(MODEL_FILE).with_suffix(".bin").name}
    with tempfile.TemporaryDirectory(prefix="scap_ov.") as folder:
        for item in model.parent.absolute().iterdir():
            if item.name not in names.values():
                (Path(folder) / names.get(item.name, item.name)).symlink_to(item)
        yield Path(folder)
