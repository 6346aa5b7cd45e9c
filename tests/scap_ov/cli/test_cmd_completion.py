"""The completion script is one that bash understands, and completes what the parsers know."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from scap_ov.cli.main import COMMANDS, main

pytest.importorskip("shtab")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "script.json"
    assert main(["completion", "bash", "-q", "--json", str(file)]) == 0
    path = file.with_suffix(".bash")
    path.write_text(json.loads(file.read_text())["script"])
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("",), set(COMMANDS)),
        (("insp",), {"inspect"}),
        (("apply", "stock", "--target"), {"--target-sparsity"}),
        (("apply", "stock", "--replace", ""), {"where_faster", "always"}),
        (("demo", "--export", "g"), {"genai"}),
        (("inspect", "a_fil"), {"a_file.txt"}),
    ],
)
def test_bash_completes_commands_options_values_and_files(
    words: tuple[str, ...], completed: set[str], script: Path, tmp_path: Path
) -> None:
    (tmp_path / "a_file.txt").write_text("")
    code = 'source "$0"; COMP_WORDS=(scap-ov "$@"); COMP_CWORD=$#; COMPREPLY=(); _shtab_scap_ov; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code, str(script), *words], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert set(done.stdout.split()) - {"-h", "--help"} == completed


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "elvish"]) == 2
    assert capsys.readouterr().err == "scap-ov: error: there is no completion for 'elvish'; give one of bash, zsh, tcsh\n"


def test_the_script_alone_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef scap-ov")
