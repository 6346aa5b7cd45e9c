"""Activation pruning for OpenVINO and ONNX models. The public names are loaded on first use (PEP 562): `import scap_ov` costs nothing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from scap_ov import _moved

if TYPE_CHECKING:
    from scap_ov import errors
    from scap_ov.api import apply, benchmark, calibrate, evaluate, fit, save_model
    from scap_ov.config import SparsityConfig
    from scap_ov.custom_ops.library import extension_path
    from scap_ov.dial import level, set_level
    from scap_ov.pipelines import open_pipeline, register_genai
    from scap_ov.plan import SparsityPlan
    from scap_ov.runtime import register
    from scap_ov.statistics.profile import CalibrationProfile

__version__ = "0.1.0"

_HOME = {
    "apply": "scap_ov.api",
    "calibrate": "scap_ov.api",
    "fit": "scap_ov.api",
    "evaluate": "scap_ov.api",
    "benchmark": "scap_ov.api",
    "save_model": "scap_ov.api",
    "register": "scap_ov.runtime",
    "extension_path": "scap_ov.runtime",
    "register_genai": "scap_ov.pipelines",
    "open_pipeline": "scap_ov.pipelines",
    "set_level": "scap_ov.dial",
    "level": "scap_ov.dial",
    "CalibrationProfile": "scap_ov.statistics.profile",
    "SparsityPlan": "scap_ov.plan",
    "SparsityConfig": "scap_ov.config",
}

__all__ = [  # noqa: RUF022 - in the order of the flow
    "apply", "calibrate", "fit", "evaluate", "benchmark", "save_model", "register", "extension_path",
    "register_genai", "open_pipeline", "set_level", "level",
    "CalibrationProfile", "SparsityPlan", "SparsityConfig", "errors", "__version__",
]  # fmt: skip

_moved.install()


def __getattr__(name: str) -> Any:
    """Load a public name from its home module."""
    if name == "errors":
        value: Any = importlib.import_module("scap_ov.errors")
    elif name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        msg = f"module 'scap_ov' has no attribute {name!r}; public names: {', '.join(__all__)}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
