"""Old module paths, which go on working: each import of one warns and says the new path. Lines may be deleted after two releases."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Old module -> where its names are now. A package that is gone stands with no target.
MOVED: dict[str, tuple[str, ...]] = {
    "scap_ov.backends.onnx_model": ("scap_ov.models.onnx_model",),
    "scap_ov.backends.onnx_session": ("scap_ov.models.onnx_session",),
    "scap_ov.benchmarking.gguf_weights": ("scap_ov.sample_models.gguf_weights",),
    "scap_ov.benchmarking.onnx_decoder": ("scap_ov.sample_models.onnx_decoder",),
    "scap_ov.benchmarking.onnx_drawing": ("scap_ov.sample_models.onnx_drawing",),
    "scap_ov.benchmarking.onnx_encoder": ("scap_ov.sample_models.onnx_encoder",),
    "scap_ov.benchmarking.random_gguf": ("scap_ov.sample_models.random_gguf",),
    "scap_ov.benchmarking.random_llm": ("scap_ov.sample_models.random_llm",),
    "scap_ov.benchmarking.real_weights": ("scap_ov.sample_models.real_weights",),
    "scap_ov.benchmarking.synthetic": ("scap_ov.sample_models.synthetic",),
    "scap_ov.benchmarking.wordpiece": ("scap_ov.sample_models.wordpiece",),
    "scap_ov.calibration.attention_gradient": ("scap_ov.gradients.attention_gradient",),
    "scap_ov.calibration.collector": ("scap_ov.statistics.collector",),
    "scap_ov.calibration.complete": ("scap_ov.calibration.calibrate",),
    "scap_ov.calibration.compensation": ("scap_ov.tuning.compensation",),
    "scap_ov.calibration.dataset": ("scap_ov.models.dataset", "scap_ov.models.tokenizer", "scap_ov.models.inputs"),
    "scap_ov.calibration.gradient": ("scap_ov.gradients.gradient",),
    "scap_ov.calibration.gradient_rules": ("scap_ov.gradients.gradient_rules",),
    "scap_ov.calibration.kinds": ("scap_ov.calibration.probes", "scap_ov.models.kinds"),
    "scap_ov.calibration.max_loss": ("scap_ov.tuning.max_loss",),
    "scap_ov.calibration.observers": ("scap_ov.statistics.observers",),
    "scap_ov.calibration.observers.base": ("scap_ov.statistics.observers.base",),
    "scap_ov.calibration.observers.histogram": ("scap_ov.statistics.observers.histogram",),
    "scap_ov.calibration.observers.moments": ("scap_ov.statistics.observers.moments",),
    "scap_ov.calibration.observers.reservoir": ("scap_ov.statistics.observers.reservoir",),
    "scap_ov.calibration.pruning_gradient": ("scap_ov.gradients.pruning_gradient",),
    "scap_ov.calibration.run_openvino": ("scap_ov.models.runner", "scap_ov.calibration.observe", "scap_ov.passes.openvino.gate_activation"),
    "scap_ov.calibration.weight_summary": ("scap_ov.statistics.weight_summary",),
    "scap_ov.demo": (),
    "scap_ov.demo.gguf_to_hf": ("scap_ov.sample_models.gguf_to_hf",),
    "scap_ov.demo.reading": ("scap_ov.sample_models.sample_text",),
    "scap_ov.demo.sentencepiece_bpe": ("scap_ov.sample_models.sentencepiece_bpe",),
    "scap_ov.demo.source": ("scap_ov.sample_models.source",),
    "scap_ov.demo.steps": ("scap_ov.cli.demo_steps",),
    "scap_ov.demo.talk": ("scap_ov.cli.chat",),
    "scap_ov.evaluation.agreement": ("scap_ov.models.agreement",),
    "scap_ov.evaluation.sparse_view": ("scap_ov.evaluation.instrument",),
    "scap_ov.evaluation.take_apart": ("scap_ov.evaluation.extract_plan",),
    "scap_ov.evaluation.windows": ("scap_ov.models.windows", "scap_ov.models.text"),
    "scap_ov.evaluation.windows_run": ("scap_ov.models.window_runner",),
    "scap_ov.passes.openvino.carry": ("scap_ov.passes.rules.passthrough",),
    "scap_ov.passes.openvino.constants": ("scap_ov.passes.rules.constants",),
    "scap_ov.passes.openvino.match_pattern": ("scap_ov.passes.rules.match_pattern",),
    "scap_ov.passes.openvino.match_ramp": ("scap_ov.passes.rules.match_ramp",),
    "scap_ov.passes.openvino.structure": ("scap_ov.passes.rules.structure",),
    "scap_ov.profile": ("scap_ov.statistics.profile",),
}


class MovedModules(MetaPathFinder, Loader):
    """Makes a stand-in for an old module, which looks names up in the new ones. Asked first: an emptied folder passes for a package."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for a path of the table; None for all others."""
        del path, target
        if fullname not in MOVED:
            return None
        return ModuleSpec(fullname, self, is_package=any(old.startswith(f"{fullname}.") for old in MOVED))

    def exec_module(self, module: ModuleType) -> None:
        """Give the stand-in its names, and warn whoever imports it."""
        homes = MOVED[module.__name__]
        if not homes:
            return

        def look_up(name: str) -> Any:
            for home in homes if not name.startswith("__") else ():
                found = importlib.import_module(home)
                if hasattr(found, name):
                    return getattr(found, name)
            msg = f"module {module.__name__!r} has no attribute {name!r}; it is {' and '.join(homes)} now"
            raise AttributeError(msg)

        module.__dict__["__getattr__"] = look_up
        warnings.warn(f"{module.__name__} is {' and '.join(homes)} now; import from there", DeprecationWarning, stacklevel=2)


def install() -> None:
    """Let old paths be found; once for each interpreter."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())
