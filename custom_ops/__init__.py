"""The extension ops: their names, their library, its packed formats."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from scap_ov.errors import ExtensionError

OP_NAME = "SparseMatMul"  # as ov.Node.get_type_name gives it, and as an .xml names it
EXPERTS_OP_NAME = "SparseExperts"
BLOCK_OP_NAME = "SparseBlock"
OP_NAMES = (OP_NAME, EXPERTS_OP_NAME, BLOCK_OP_NAME)
LIBRARY_VARIABLE = "SCAP_OV_EXTENSION"
LIBRARY_NAME = "libscap_ov_extension.so"


def library_path() -> Path:
    """Path of the extension library: what SCAP_OV_EXTENSION names, else the one that was installed or built.

    :raises ExtensionError: there is none.
    """
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        path = Path(named)
        if not path.is_file():
            msg = f"{LIBRARY_VARIABLE} names {named}, which is no file; correct or unset it"
            raise ExtensionError(msg)
        return path.resolve()
    # Not Path(__file__).parent: in an editable install this file is in the repository, the library in site-packages.
    path = Path(str(files(__name__) / "lib" / LIBRARY_NAME))
    if not path.is_file():
        msg = f"the extension library {LIBRARY_NAME} is not installed; build it with `scap-ov build-extension`"
        raise ExtensionError(msg)
    return path


def include_path() -> Path:
    """Folder of scap_ov.h, the C functions of the library for programs without Python.

    :raises ExtensionError: the installation is incomplete.
    """
    header = Path(str(files(__name__).joinpath("include/scap_ov.h")))
    if not header.is_file():
        msg = f"{header} is missing; install scap_ov again"
        raise ExtensionError(msg)
    return header.parent
