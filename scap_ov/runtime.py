"""Register the extension library, and what sparse ONNX files need, with an OpenVINO Core.

optimum-intel reads models with a Core of its own; one call before `from_pretrained` makes it know the op:

    from optimum.intel.openvino import modeling_base
    scap_ov.register(modeling_base.core)

openvino-genai takes the library's path, and keeps the op in its own f32 where the CPU's default is bf16:

    openvino_genai.LLMPipeline(folder, "CPU", extensions=[str(scap_ov.extension_path())], INFERENCE_PRECISION_HINT="f32")
"""

from __future__ import annotations

from functools import cache

import openvino as ov

from scap_ov.custom_ops.library import add_library, check_release, extension_path, implementation
from scap_ov.passes.onnx.openvino_functions import conversions

__all__ = ["check_release", "compiling_core", "extension_path", "implementation", "register"]


@cache
def compiling_core() -> ov.Core:
    """The one Core that compiles what we run; it lives as long as the process.

    The CPU plugin of each Core brings a stack for signals, and puts back the one of before when it goes (OpenVINO 2026.4.1). Of two Cores
    of which the first one goes first, that one is gone: the next signal that Python handles, as of Ctrl-C, ends the process.
    Cores that read models only have no plugin.
    """
    return ov.Core()


def register(core: ov.Core) -> None:
    """Make a Core know scap_ov::SparseMatMul, and the functions of sparse ONNX files; doing so twice does no harm.

    :raises ExtensionError: there is no library, or it cannot be loaded.
    """
    add_library(core)
    for conversion in conversions():
        core.add_extension(conversion)
