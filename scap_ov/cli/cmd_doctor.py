"""Tell what works on this machine, and what to do where it does not."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

from scap_ov.cli.options import add_json_option
from scap_ov.cli.output import Output
from scap_ov.errors import ScapError
from scap_ov.optional import optional

# package -> (needed, what for)
_PACKAGES = {
    "openvino": (True, "everything"), "nncf": (True, "calibration datasets"), "openvino-genai": (False, "generate, bench, self-made text"),
    "openvino-tokenizers": (False, "tokenizers of model folders"), "optimum-intel": (False, "exporting models"),
    "onnx": (False, "ONNX models"), "onnxruntime": (False, "validating ONNX models"), "matplotlib": (False, "plots in reports"),
}  # fmt: skip
_EXTRAS = {"openvino-genai": "genai", "openvino-tokenizers": "genai", "optimum-intel": "export", "onnx": "onnx", "onnxruntime": "onnx",
           "matplotlib": "report"}  # fmt: skip
_HEAVY = ("optimum-intel",)  # imports torch for many seconds
_FLAGS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "amx_int8", "amx_bf16")

EXAMPLES = (
    "scap-ov doctor",
    "scap-ov doctor --json -",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `doctor`."""
    add_json_option(parser)


def run(_args: argparse.Namespace, out: Output) -> int:
    """Print one line per finding. :return: 1 when something that is needed does not work."""
    findings = [_python(), _processor(), *_packages(), *_torchvision(), *_library()]
    rows = [("ok" if f["ok"] else ("PROBLEM" if f["needed"] else "absent"), f["what"], f["found"], f["advice"]) for f in findings]
    out.table("", ("", "what", "found", "advice"), rows)
    healthy = all(f["ok"] or not f["needed"] for f in findings)
    out.say("everything that is needed works" if healthy else "something that is needed does not work, see PROBLEM above")
    out.figures({"healthy": healthy, "findings": findings})
    return 0 if healthy else 1


def _finding(what: str, found: object, advice: str = "", *, ok: bool = True, needed: bool = True) -> dict[str, object]:
    return {"what": what, "found": str(found), "advice": advice, "ok": ok, "needed": needed}


def _python() -> dict[str, object]:
    ok = sys.version_info >= (3, 10)
    return _finding("Python", platform.python_version(), "" if ok else "use Python 3.10 or newer", ok=ok)


def _processor() -> dict[str, object]:
    path = Path("/proc/cpuinfo")
    name, flags = platform.processor() or platform.machine(), set()
    if path.is_file():
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
                break
    known = [flag for flag in _FLAGS if flag in flags]
    advice = "" if {"avx2", "fma"} <= flags or not path.is_file() else "without AVX2 the op runs its scalar kernels: use the portable form"
    return _finding("processor", f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores, "
                    f"{' '.join(known) or 'flags unknown'}", advice)  # fmt: skip


def _packages() -> list[dict[str, object]]:
    findings = []
    versions: dict[str, str] = {}
    for name, (needed, purpose) in _PACKAGES.items():
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            cure = f"pip install 'scap_ov[{_EXTRAS[name]}]'" if name in _EXTRAS else "pip install scap_ov again"
            findings.append(_finding(name, "not installed", f"for {purpose}: {cure}", ok=False, needed=needed))
            continue
        advice, ok = _importable(name, purpose)
        release = ".".join(versions.get("openvino", "").split(".")[:3])
        if name in ("openvino-genai", "openvino-tokenizers") and not versions[name].startswith(release):
            advice, ok = f"is of another release than openvino {release}: pip install {name}=={release}.*", False
        findings.append(_finding(name, versions[name], advice, ok=ok, needed=needed or not ok))
    return findings


def _importable(name: str, purpose: str) -> tuple[str, bool]:
    """Advice and whether the package can be imported: one that is there may lack a library, or be built for another release."""
    if name in _HEAVY:
        return "", True
    try:
        optional(name.replace("-", "_"), f"{purpose}:", f"'scap_ov[{_EXTRAS[name]}]'" if name in _EXTRAS else "scap_ov")
    except ScapError as e:
        return str(e), False
    return "", True


def _torchvision() -> list[dict[str, object]]:
    """A torchvision that was built for another torch: optimum-cli then fails in transformers, in a sentence that names neither."""
    try:
        version = importlib.metadata.version("torchvision")
        importlib.metadata.version("optimum-intel")
    except importlib.metadata.PackageNotFoundError:
        return []
    # In a process of its own: torch takes seconds and memory, and a library of the wrong build may end the process.
    if subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False).returncode == 0:
        return []
    advice = "cannot be imported beside this torch, so optimum-cli fails; pip uninstall torchvision, or install both of one release"
    return [_finding("torchvision", version, advice, ok=False)]


def _library() -> list[dict[str, object]]:
    try:
        import openvino as ov

        from scap_ov.custom_ops.library import extension_path
        from scap_ov.runtime import register

        path = extension_path()
        register(ov.Core())
        findings = [_finding("extension library", path)]
    except (ScapError, ImportError) as e:
        return [_finding("extension library", "not usable", str(e), ok=False)]
    return [*findings, _implementation(), *_rows()]


def _rows() -> list[dict[str, object]]:
    """The row policy that the environment forces on all models; nothing where it forces none."""
    forced = os.environ.get("SCAP_OV_ROWS")
    if not forced:
        return []
    known = forced in ("all", "decode")
    advice = "whatever models say; unset it when you are done measuring" if known else "give SCAP_OV_ROWS as all or decode, or unset it"
    return [_finding("rows that are pruned", forced, advice, ok=known)]


def _implementation() -> dict[str, object]:
    forced = os.environ.get("SCAP_OV_ISA")
    try:
        from scap_ov.custom_ops.library import implementation

        chosen = implementation()
    except (ScapError, ImportError) as e:
        return _finding("kernels", "unknown", str(e), ok=False, needed=bool(forced))
    advice = (
        f"forced by SCAP_OV_ISA={forced}" if forced else ("use the portable form, scalar kernels are slow" if chosen == "scalar" else "")
    )
    return _finding("kernels", chosen, advice)
