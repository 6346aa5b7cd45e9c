"""Exit codes, one-line errors, and the purity of `--json -`."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import logging
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from made_up_profile import small_profile
from signal_stack import leave_signal_stack

from scap_ov.cli import main as cli
from scap_ov.cli.main import COMMANDS, main
from scap_ov.cli.options import add_json_option, parse_target
from scap_ov.cli.output import Output, plain
from scap_ov.errors import UsageError


def error_of(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    return code, lines[0]


def test_help_lists_every_command_without_loading_one() -> None:
    code = "import sys; from scap_ov.cli.main import main; main(['--help']); print('openvino' in sys.modules)"
    done = subprocess.run([sys.executable, "-Ic", code], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert done.stdout.endswith("False\n")


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert error_of(capsys, "aply") == (2, "scap-ov: error: unknown command 'aply'; did you mean 'apply'?")


def test_unknown_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = error_of(capsys, "inspect", "x", "--nonsense")
    assert code == 2
    assert "--nonsense" in line
    assert "scap-ov inspect --help" in line


@pytest.mark.parametrize(
    ("words", "empty"),
    [
        (("apply", "stock", ""), "output"),
        (("apply", "stock", "sparse", "--profile", ""), "--profile"),
        (("inspect", ""), "model"),
        (("merge", "a", "", "-o", "b"), "profiles"),
    ],
)
def test_an_empty_value_is_not_taken_for_none(words: tuple[str, ...], empty: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a variable of the shell that is not set; `--profile ""` calibrated anew."""
    code, line = error_of(capsys, *words)
    assert code == 2
    assert line.startswith(f"scap-ov: error: {empty} is empty; give a value")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what the command does and explains every argument of its own."""
    module = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert [action.dest for action in parser._actions if not action.help] == []
    assert main([name, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert str(module.__doc__).split("\n", maxsplit=1)[0].split(". ")[0] in said
    for action in parser._actions:
        assert all(option in said for option in action.option_strings), action


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_in_a_help_is_a_command_that_is_understood(name: str) -> None:
    """The words of each example go through the command's own parser."""
    parser, module = cli.parser_of(name)
    assert "examples:" in parser.format_help()
    for line in module.EXAMPLES:
        program, command, *words = shlex.split(line.rpartition("| ")[2].partition(" > ")[0])
        assert (program, command) == ("scap-ov", name)
        parser.check_options(words)
        parser.parse_intermixed_args(words)


@pytest.mark.parametrize(
    ("words", "told"),
    [(("eval", "sparse", "--referense", "stock"), "unknown option '--referense'; did you mean '--reference'?"),
     (("apply", "stock", "out", "--target-sparsty", "0.5"), "unknown option '--target-sparsty'; did you mean '--target-sparsity'?"),
     (("apply", "stock", "out", "--target-sparsty=0.5", "--zzz"), "unknown option '--target-sparsty'; did you mean '--target-sparsity'?"),
     (("generate", "m", "-zello"), "unknown option '-zello'; see `scap-ov generate --help`, and put -- before a text")],
)  # fmt: skip
def test_a_misspelt_option_alone_is_blamed(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str) -> None:
    code, line = error_of(capsys, *words)
    assert code == 2
    assert line.startswith(f"scap-ov: error: {told}")


def test_names_of_users_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets are no markup, and nothing steers the terminal."""
    names = ["x[/b]", "[red]x[/red]", ":smile:", "a\x1b]0;owned\x07", "a\nb", "\u202eabc", "\udcff"]

    def run(args: object, out: Output) -> None:
        for name in names:
            out.table(name, ("site", name), [(name, 1.0)])
            out.say(name)
            with out.progress(name) as bar:
                bar(1, 2, name)
        raise UsageError("; ".join(names))

    command(monkeypatch, run)
    assert main(["fake"]) == 2
    captured = capsys.readouterr()
    for text in (captured.out, captured.err.splitlines()[-1]):
        assert all(name in text for name in ("x[/b]", "[red]x[/red]", ":smile:", "a\\x1b]0;owned\\x07", "a\\nb", "\\u202eabc", "\\udcff"))
        assert not set(text) & {"\x1b", "\x07", "\u202e", "\udcff"}


def test_a_terminal_without_unicode_gets_escapes_and_loses_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from scap_ov.cli import main as m; from scap_ov.cli.output import Output\n"
        "m.main(['--version'])\n"
        "with Output(None) as out: out.table('t', ('a',), [('5 % ± 1 模',)]); out.say('mö'); out.stream('\U0001f600')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"}, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in (b"\\xb1", b"\\u6a21", b"m\\xf6", b"\\U0001f600"))


def command(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    module = types.ModuleType("fake_command", "Fake.")
    module.add_arguments = add_json_option  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(cli.COMMANDS, "fake", ("fake_command", "fake"))


def test_an_unexpected_error_is_one_line_and_exit_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: object, out: object) -> None:
        msg = "first\nsecond"
        raise RuntimeError(msg)

    command(monkeypatch, run)
    assert error_of(capsys, "fake") == (
        1,
        "scap-ov: error: unexpected RuntimeError: first second; run again with --debug for the traceback",
    )
    assert main(["fake", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interruption_is_one_line_and_exit_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: object, out: object) -> None:
        raise KeyboardInterrupt

    command(monkeypatch, run)
    assert error_of(capsys, "fake") == (130, "scap-ov: error: interrupted; nothing half-written is left")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_the_process_gets_what_ctrl_c_gets(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: object, out: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    leave_signal_stack()
    command(monkeypatch, run)
    assert error_of(capsys, "fake") == (128 + number, "scap-ov: error: interrupted; nothing half-written is left")
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by nohup."""
    monkeypatch.setattr("signal.getsignal", lambda _: signal.SIG_IGN)
    monkeypatch.setattr("signal.signal", lambda *_: pytest.fail("it was changed"))
    command(monkeypatch, lambda args, out: None)
    assert main(["fake"]) == 0


def test_a_path_that_cannot_be_used_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: object, out: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "closed/text.txt")

    command(monkeypatch, run)
    assert error_of(capsys, "fake") == (2, "scap-ov: error: closed/text.txt cannot be used (Permission denied); give another path")


def test_closed_streams_and_a_full_disk_behind_them(tmp_path: Path) -> None:
    """`>&-` leaves Python without sys.stdout; a redirected output may not fit."""
    command = f"{shlex.quote(sys.executable)} -I -m scap_ov.cli.main"
    made_profile = tmp_path / "profile"
    small_profile().save(made_profile)
    for number, stream in enumerate((">&-", "2>&-")):
        line = f"{command} merge {made_profile} -o {tmp_path / str(number)} {stream}"
        assert subprocess.run(["bash", "-c", line], check=False, timeout=120).returncode == 0
        assert (tmp_path / str(number)).is_file()
    done = subprocess.run(
        ["bash", "-c", f"{command} completion bash > /dev/full"], capture_output=True, text=True, check=False, timeout=120
    )
    told = "scap-ov: error: output cannot be written (No space left on device); free some space, or send it somewhere else"
    assert (done.returncode, done.stderr.strip().splitlines()[:1]) == (1, [told])


def test_json_on_standard_output_stands_alone(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Tables are not printed at all; what C libraries write to descriptor 1 goes elsewhere."""

    def run(args: object, out: object) -> None:
        out.table("T", ("a", "b"), [("x", 1.0)])  # type: ignore[attr-defined]
        out.say("said")  # type: ignore[attr-defined]
        subprocess.run(["echo", "from below"], check=True)
        out.figures({"nan": float("nan"), "array": np.arange(2), "n": np.float32(0.5)})  # type: ignore[attr-defined]

    command(monkeypatch, run)
    assert main(["fake", "--json", "-"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out) == {"format_version": 1, "nan": None, "array": [0, 1], "n": 0.5}
    assert captured.err == "from below\n"


def test_json_goes_to_a_file_and_a_missing_folder_is_told_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ran = []

    def run(args: object, out: object) -> None:
        ran.append(1)
        out.figures({"a": 1})  # type: ignore[attr-defined]

    command(monkeypatch, run)
    assert main(["fake", "--json", str(tmp_path / "f.json")]) == 0
    assert json.loads((tmp_path / "f.json").read_text()) == {"format_version": 1, "a": 1}
    code, line = error_of(capsys, "fake", "--json", tmp_path / "no" / "f.json")
    assert code == 2
    assert "its folder does not exist" in line
    assert error_of(capsys, "fake", "--json", tmp_path / "f.json")[1].endswith("give a new one, or --overwrite to replace it")
    assert ran == [1]
    assert main(["fake", "--json", str(tmp_path / "f.json"), "--overwrite"]) == 0
    assert ran == [1, 1]


def test_quiet_says_nothing_but_errors_and_what_is_streamed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def run(args: object, out: Output) -> None:
        out.table("T", ("a",), [("x",)])
        out.say("said")
        out.note("noted")
        logging.getLogger("scap_ov.somewhere").warning("warned")
        with out.progress("long work") as bar:
            bar(1, 2)
        out.stream("written\n")

    command(monkeypatch, run)
    assert main(["fake", "-q"]) == 0
    assert capfd.readouterr() == ("written\n", "")
    assert main(["fake"]) == 0
    shown = capfd.readouterr()
    assert all(text in shown.out for text in ("T", "said", "written"))
    assert shown.err.splitlines()[:2] == ["noted", "scap-ov: warning: warned"]


@pytest.mark.parametrize(("colourless", "escapes"), [("", True), ("1", False)])
def test_a_terminal_gets_no_escapes_with_no_color(colourless: str, escapes: bool, tmp_path: Path) -> None:
    """Run on a terminal of its own: a pipe gets none in any case."""
    code = "from scap_ov.cli.output import Output\nwith Output(None) as out: out.table('title', ('a',), [('x',)])"
    reader, writer = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": colourless, "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", code], check=True, stdout=writer, env=env, cwd=tmp_path)
    os.close(writer)
    shown = os.read(reader, 10_000)
    os.close(reader)
    assert b"title" in shown
    assert (b"\x1b" in shown) == escapes


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_two_or_three_examples(name: str) -> None:
    assert 2 <= len(cli.parser_of(name)[1].EXAMPLES) <= 3


def test_targets_by_kind() -> None:
    assert parse_target("0.5") == 0.5
    assert parse_target("up=0.4,down=0.6") == {"up": 0.4, "down": 0.6}
    with pytest.raises(UsageError, match="abc"):
        parse_target("abc")


def test_plain_values_of_anything() -> None:
    assert plain({"p": Path("a"), 1: (np.int64(2), [None, True])}) == {"p": "a", "1": [2, [None, True]]}
