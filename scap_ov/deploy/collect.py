"""Find what a device needs to run a model, and write it as one archive: see `deploy.bundle`."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from scap_ov.custom_ops import LIBRARY_NAME
from scap_ov.custom_ops.build import C_HEADER
from scap_ov.custom_ops.library import extension_path
from scap_ov.deploy.archive import Member, check_members, stem_of, write_archive
from scap_ov.deploy.bundle import TOKENIZERS, Bundle
from scap_ov.deploy.device_readme import readme
from scap_ov.deploy.libraries import Library, notices, runtime_libraries, system_needs
from scap_ov.deploy.runner import PROGRAM, compile_runner, runner_source
from scap_ov.errors import OutputError, UsageError
from scap_ov.storage.companions import Companions, companions
from scap_ov.storage.model_files import is_lowered_file, model_file
from scap_ov.storage.model_folder import read_model
from scap_ov.storage.rt_info import CONFIG_FILE

if TYPE_CHECKING:
    from scap_ov.progress import Progress

LIBRARIES = ("copy", "list")  # values of --libraries


def write_bundle(bundle: Bundle, path: str | Path, *, progress: Progress | None = None) -> int:
    """Write the archive.

    :return: its bytes.
    :raises OutputError: reading or writing failed; nothing is left half-written.
    """
    return write_archive([*bundle.members, Member("README.md", readme(bundle).encode())], path, progress=progress)


def collect(
    given: str | Path, path: str | Path, *, libraries: str = "copy", genai: bool = False, compiled: bool = False, verbose: bool = False
) -> Bundle:
    """Find all files of a bundle, and refuse what would not run, before anything is written.

    :param given: a model folder, or its .xml.
    :param path: of the archive; the top folder is named after it.
    :param libraries: `copy` them into the bundle, or only `list` them with their versions.
    :param genai: also openvino-genai.
    :param compiled: compile the runner, which needs cmake and a C++ compiler.
    :raises BadModelError: there is no model, or OpenVINO cannot read it, or a file has a name that is not safe in an archive.
    :raises UsageError: it is an ONNX model, or `path` or `libraries` is not allowed.
    :raises ExtensionError: the extension library is missing or of another OpenVINO release, or the runner does not compile.
    :raises MissingDependencyError: a package whose libraries are needed is not installed.
    """
    name = stem_of(path)
    if libraries not in LIBRARIES:
        msg = f"libraries is '{libraries}'; give one of {', '.join(LIBRARIES)}"
        raise UsageError(msg)
    xml = model_file(given)
    if xml.suffix.lower() != ".xml":
        msg = f"{xml} is an ONNX model, and a bundle holds OpenVINO's; convert it with ovc, or apply to the OpenVINO export"
        raise UsageError(msg)
    read_model(xml)
    beside = companions(xml, [xml, xml.with_suffix(".bin")], alone=Path(given).is_file())
    _check_outside(path, beside)
    members = _model(xml, beside)
    found = _libraries(members, genai=genai)
    check_members(members)
    members += [Member(f"runner/{file.name}", file) for file in sorted(runner_source().iterdir()) if file.is_file()]
    if any(library.path.name == LIBRARY_NAME for library in found):
        members.append(Member(f"include/{C_HEADER.name}", C_HEADER))
    contents = [library.path.read_bytes() for library in found]
    if compiled:
        contents.append(compile_runner(verbose=verbose))
        members.append(Member(f"bin/{PROGRAM}", contents[-1], executable=True))
    if libraries == "copy":
        members += [Member(f"lib/{library.path.name}", library.path) for library in found]
        members += [Member(f"licenses/{name}", file) for package in _packages(found) for name, file in notices(package)]
    return Bundle(name, tuple(members), tuple(found), libraries == "copy", system_needs(contents), beside)


def _model(xml: Path, beside: Companions) -> list[Member]:
    files = {xml.name: xml, xml.with_suffix(".bin").name: xml.with_suffix(".bin")}
    if beside.folder is not None and (beside.folder / CONFIG_FILE).is_file():
        files[CONFIG_FILE] = beside.folder / CONFIG_FILE
    files |= {place.as_posix(): source for source, place in beside.files}
    return [Member(f"model/{name}", source) for name, source in files.items()]


def _libraries(members: list[Member], *, genai: bool) -> list[Library]:
    models = [m for m in members if m.name.endswith(".xml") and isinstance(m.source, Path)]
    tokenizers = any(Path(m.name).name in TOKENIZERS for m in models)
    found = runtime_libraries(tokenizers=tokenizers or genai, genai=genai)
    if any(isinstance(m.source, Path) and is_lowered_file(m.source) for m in models):
        found.append(Library(extension_path(), "scap_ov", version("scap_ov")))
    return found


def _packages(libraries: list[Library]) -> list[str]:
    return list(dict.fromkeys(library.package for library in libraries))


def _check_outside(path: str | Path, beside: Companions) -> None:
    """A bundle in the folder that it is made of would be in the next one."""
    if beside.folder is None:
        return
    home = Path(os.path.realpath(beside.folder))
    if home in Path(os.path.realpath(path)).parents:
        msg = f"{path} is inside the model's folder {beside.folder}, which goes into it; give a place outside"
        raise OutputError(msg)
