"""The README of a bundle: for whoever unpacks it on a device, and has neither Python nor this project's documentation."""

from __future__ import annotations

from collections.abc import Iterator

from scap_ov.custom_ops import LIBRARY_NAME
from scap_ov.deploy.bundle import Bundle
from scap_ov.deploy.runner import PROGRAM
from scap_ov.storage.model_files import MODEL_FILE

_TOKENIZERS_LIBRARY = "libopenvino_tokenizers.so"


def readme(bundle: Bundle) -> str:
    """Markdown."""
    parts = (_head(bundle), _run(bundle), _build(bundle), _own_program(bundle), _libraries(bundle), _files(bundle))
    return "\n".join("\n".join(part) + "\n" for part in parts)


def _head(bundle: Bundle) -> Iterator[str]:
    needs = {"GLIBC": "glibc", "GLIBCXX": "libstdc++ with GLIBCXX"}
    system = ", ".join(f"{needs[name]} {number} or newer" for name, number in bundle.system.items())
    yield f"# {bundle.name}\n"
    yield "A model and what runs it on a CPU with OpenVINO, without Python. Check the files with `sha256sum -c SHA256SUMS`.\n"
    yield "Needed of the device:\n"
    yield "- Linux on x86-64. AVX2 is enough; AVX-VNNI, AVX-512 VNNI and AMX are used where they are."
    yield f"- {system}, and libgcc_s: the C and C++ run-time libraries of the system (Debian: libc6, libstdc++6, libgcc-s1)."
    yield "- /proc mounted: OpenVINO asks it for the processor, and waits without end where it is not."


def _run(bundle: Bundle) -> Iterator[str]:
    yield "## Run\n"
    if not bundle.runs_text:
        yield f"The runner continues a text with a language model, {MODEL_FILE} beside its tokenizers. This bundle holds no such"
        yield "model: `runner/main.cpp` shows how a program loads one."
        return
    if not bundle.has_runner:
        yield "Compile the runner first (see below), and put it into `bin`. `scap-ov bundle --compile` puts a compiled one there.\n"
    if not bundle.copied:
        yield "The libraries are listed below and not in this bundle: put them into `lib`.\n"
    yield f"    bin/{PROGRAM} {_flags(bundle)} model 'The capital of France is'\n"
    yield "It continues the text as it stands, greedily, and tells its speed on standard error. `--tokens N` sets the length (64)."
    if bundle.needs_extension:
        yield "Of a model that holds several levels, `--level 0.4` chooses one, and SCAP_OV_LEVEL=0.4 in the environment of any"
        yield "program; a level that it does not hold is refused with those that it does."
    yield "The program finds `lib` beside `bin`; elsewhere, set LD_LIBRARY_PATH."


def _flags(bundle: Bundle) -> str:
    names = [_TOKENIZERS_LIBRARY, *([LIBRARY_NAME] if bundle.needs_extension else [])]
    return " ".join(f"--library {name}" for name in names)


def _build(bundle: Bundle) -> Iterator[str]:
    release = next(library.version for library in bundle.libraries if library.package == "openvino").partition("-")[0]
    yield "## Compile the runner\n"
    yield "On a machine with cmake, a C++17 compiler and Python, whose glibc is not newer than the device's:\n"
    yield f"    python -m pip install openvino=={release}"
    yield "    dir=$(python -c 'import openvino.utils as u; print(u.get_cmake_path())')"
    yield "    cmake -S runner -B build -DOpenVINO_DIR=$dir -DTBB_DIR=$dir -DCMAKE_BUILD_TYPE=Release -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON"
    yield f"    cmake --build build && mkdir -p bin && cp build/{PROGRAM} bin/"


def _own_program(bundle: Bundle) -> Iterator[str]:
    yield "## A program of your own\n"
    if bundle.needs_extension:
        yield f"Register `{LIBRARY_NAME}` before the model is read: `core.add_extension(path)` of ov::Core, or"
        yield '`ov::genai::LLMPipeline pipe(folder, "CPU", ov::genai::extensions({path}));` of openvino.genai.'
        yield "`include/scap_ov.h` is the dial of models that hold several levels (`--level` of the runner)."
    yield 'Compile the model with `ov::hint::inference_precision(ov::element::f32)` (INFERENCE_PRECISION_HINT="f32").'
    yield "Constant data stays mapped from the .bin: it is read from disk once, and shared by all processes that run the model."


def _libraries(bundle: Bundle) -> Iterator[str]:
    yield "## Libraries\n"
    yield "All of one release: OpenVINO's libraries refuse, or cannot find, those of another.\n"
    yield "| library | bytes | package |"
    yield "|---|--:|---|"
    for library in bundle.libraries:
        yield f"| {library.path.name} | {library.path.stat().st_size:,} | {library.package} {library.version} |"


def _files(bundle: Bundle) -> Iterator[str]:
    yield "## Files\n"
    yield "| file | bytes |"
    yield "|---|--:|"
    for member in sorted(bundle.members, key=lambda m: m.name):
        yield f"| {member.name.replace('|', chr(92) + '|')} | {member.size:,} |"
    yield f"| all | {sum(member.size for member in bundle.members):,} |"
