"""A bundle runs in an empty root file system: no Python, no shell, nothing but the bundle and the C and C++ run-time libraries."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from pipeline_folders import PROMPT as WORDS
from pipeline_folders import language_models

import scap_ov
from scap_ov.cli.main import main
from scap_ov.models.genai import open_pipeline

PROMPT = "The capital of France is"
# /proc is mounted in a name space of its own, and gone with the process.
IN_ROOT = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
ALONE = ["unshare", "--map-root-user", "--mount", "--pid", "--fork", "sh", "-c"]


def system_libraries(program: Path) -> list[Path]:
    """What the dynamic linker takes from outside the bundle, itself among it."""
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    paths = map(Path, re.findall(r"(/\S+) \(0x", told))
    return [path for path in paths if not path.resolve().is_relative_to(program.parents[1].resolve())]


def empty_root(root: Path, program: Path) -> None:
    for path in system_libraries(program):
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (root / "proc").mkdir()


@pytest.mark.slow  # compiles the runner and packs 200 MB
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not on the PATH")
def test_a_bundle_writes_the_text_of_the_model_without_python(lowered_folder, tmp_path):
    root, archive = tmp_path / "root", tmp_path / "edge.tar.gz"
    assert main(["bundle", str(lowered_folder), str(archive), "--compile"]) == 0
    root.mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(root, filter="data")
    empty_root(root, root / "edge" / "bin" / "scap_ov_run")

    line = next(line for line in (root / "edge" / "README.md").read_text().splitlines() if line.startswith("    bin/scap_ov_run"))
    flags = line.split()[1 : line.split().index("model")]
    libraries = [flag for flag in flags if flag != "--library"]
    assert "libscap_ov_extension.so" in libraries
    command = ["/edge/bin/scap_ov_run", "--tokens", "8", *flags, "/edge/model", PROMPT]
    if subprocess.run([*ALONE, "mount -t proc proc /proc"], capture_output=True, check=False).returncode == 0:
        done = run([*ALONE, IN_ROOT, str(root), *command], env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"})
    else:  # no name spaces here: at least nothing of this environment
        done = run([str(root) + command[0], *command[1:-2], str(root) + command[-2], PROMPT], env={})
    assert done.returncode == 0, done.stderr

    pipeline = open_pipeline(lowered_folder, "SDPA", str(scap_ov.extension_path()))
    refused = run([str(root) + command[0], "--level", "0.4", *command[1:-2], str(root) + command[-2], PROMPT], env={})
    assert refused.returncode == 2
    assert "level" in refused.stderr
    assert (root / "edge" / "include" / "scap_ov.h").is_file()
    assert done.stdout.rstrip("\n") == pipeline.generate(PROMPT, max_new_tokens=8, apply_chat_template=False).rstrip("\n")
    assert done.stdout.strip()
    its_levels_are_chosen([str(root) + command[0], "--tokens", "8", *flags], language_models() / "levels")


def its_levels_are_chosen(runner: list[str], model: Path) -> None:
    """By the runner's option, and by the environment of a program that has none."""

    def text(*options: str, **environment: str) -> str:
        done = run([runner[0], *options, *runner[1:], str(model), WORDS], env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert text("--level", "0") != text("--level", "0.5") == text(SCAP_OV_LEVEL="0.5")
    assert run([*runner, str(model), WORDS], env={"SCAP_OV_LEVEL": "0.3"}).returncode


def run(command, env):
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=300)
