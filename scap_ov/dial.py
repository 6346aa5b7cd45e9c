"""Choose the level that models run with: those that `apply` wrote with several (`levels` of SparsityConfig). ADR 0023.

    pipe = scap_ov.open_pipeline("sparse")  # from `scap-ov apply stock sparse --levels 0,0.25,0.4,0.5`
    scap_ov.set_level(0.25)                 # from the next step on

The state is the extension library's: programs without Python have the same functions (custom_ops/include/scap_ov.h), and a level that
is chosen by either holds for both. The environment variable SCAP_OV_LEVEL says what models start with that are opened afterwards:
`0.4`, or for some by name, `main=0,draft=0.5`.
"""

from __future__ import annotations

import ctypes
import functools
import os
from numbers import Real
from pathlib import Path

from scap_ov.arguments import check_path
from scap_ov.custom_ops.library import loaded
from scap_ov.errors import UsageError

_MOST = 64  # levels of a model
_TEXT = 4096  # bytes of an error, and of names at first


def set_level(level: float, model: str | Path | None = None) -> None:
    """Choose the level that every step begins with from now on; steps that are under way go on with theirs.

    :param level: one of the model's, such as 0.4; a value between two levels is refused. 0, where it is among them, is the dense model.
    :param model: the name of a model, which is that of its folder when it was written, or the path of the folder; None for all models with
        levels that this process has opened.
    :raises UsageError: no such model is open, or one has no such level; says what there is, and nothing is changed.
    :raises ExtensionError: the extension library is missing or does not fit.
    """
    if isinstance(level, bool) or not isinstance(level, Real):
        msg = f"level is {level!r}; give a number such as 0.4"
        raise UsageError(msg)
    _call("scap_ov_set_level", ctypes.c_double(float(level)), _name(model))


def level(model: str | Path | None = None) -> float:
    """The level that steps begin with now.

    :param model: as for `set_level`; None where all that are open have the same.
    :raises UsageError: no such model is open, or several have different levels.
    """
    value = ctypes.c_double()
    _call("scap_ov_get_level", _name(model), ctypes.byref(value))
    return value.value


def levels(model: str | Path | None = None) -> tuple[float, ...]:
    """The levels that a model, or every model that is open, has: ascending shares of the weight bytes that a token does not read.

    :raises UsageError: no such model is open.
    """
    values, count = (ctypes.c_double * _MOST)(), ctypes.c_size_t()
    _call("scap_ov_levels_of", _name(model), values, ctypes.c_size_t(_MOST), ctypes.byref(count))
    return tuple(values[: count.value])


def models_with_levels() -> tuple[str, ...]:
    """Names of the models with levels that this process has opened."""
    size = ctypes.c_size_t(_TEXT)
    while True:
        text = ctypes.create_string_buffer(size.value)
        room = size.value
        _call("scap_ov_models", text, ctypes.c_size_t(room), ctypes.byref(size))
        if size.value <= room:
            return tuple(text.value.decode().splitlines())


def _name(model: str | Path | None) -> ctypes.c_char_p:
    if model is None:
        return ctypes.c_char_p(None)
    return ctypes.c_char_p(os.fsencode(check_path("model", model, "the name of a model, or the path of its folder").name))


@functools.cache
def _library(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)


def _call(name: str, *arguments: object) -> None:
    reason = ctypes.create_string_buffer(_TEXT)
    function = loaded(lambda path: getattr(_library(path), name))
    if function(*arguments, reason, ctypes.c_size_t(_TEXT)):
        raise UsageError(reason.value.decode())
