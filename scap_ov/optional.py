"""Import packages that not every installation has, and tell why it failed: not installed is one thing, broken another."""

from __future__ import annotations

import importlib
from typing import Any

from scap_ov.errors import MissingDependencyError, reason_of


def optional(name: str, purpose: str, install: str) -> Any:
    """The module `name`.

    :param purpose: begins the sentence, such as "plots need".
    :param install: what follows `pip install`.
    :raises MissingDependencyError: it is not installed, or is and cannot be imported; the two are told apart.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        missing = (e.name or name).partition(".")[0]
        if missing == name.partition(".")[0]:
            msg = f"{purpose} the package {missing}, which is not installed; pip install {install}"
        else:
            msg = f"{purpose} the package {name}, which is installed, but needs {missing}, which is not; pip install {install}"
        raise MissingDependencyError(msg) from e
    except Exception as e:
        msg = (f"{purpose} the package {name}, which is installed but cannot be imported ({reason_of(e)}); "
               f"pip install --force-reinstall {install}")  # fmt: skip
        raise MissingDependencyError(msg) from e
