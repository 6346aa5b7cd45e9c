"""Entry point of `scap-ov`: the list of commands, exit codes, one-line errors. Each command lives in cmd_<command>.py."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NoReturn, TypeVar

from scap_ov import __version__
from scap_ov.errors import MissingDependencyError, ScapError, UsageError

# A command is a module with add_arguments(parser) and run(args, out) -> exit code or None; loaded only when it is called.
COMMANDS = {
    "demo": ("scap_ov.cli.cmd_demo", "watch a small language model being pruned and run faster, start to end"),
    "calibrate": ("scap_ov.cli.cmd_calibrate", "observe the activations of a model on data: a profile file"),
    "apply": ("scap_ov.cli.cmd_apply", "prune a model: a new, complete model folder"),
    "inspect": ("scap_ov.cli.cmd_inspect", "list the sites of a model, what was decided for each and why"),
    "eval": ("scap_ov.cli.cmd_eval", "measure quality against the stock model"),
    "compare": ("scap_ov.cli.cmd_compare", "evaluate several methods and sparsities on one model"),
    "bench": ("scap_ov.cli.cmd_bench", "measure speed and memory against the stock model, alternating"),
    "report": ("scap_ov.cli.cmd_report", "write a page about a pruned model: speed, loss, bytes, thresholds"),
    "validate": ("scap_ov.cli.cmd_validate", "compare the outputs of two models, OpenVINO or ONNX"),
    "generate": ("scap_ov.cli.cmd_generate", "stream text from a model"),
    "bundle": ("scap_ov.cli.cmd_bundle", "pack a model and what runs it for a device without Python"),
    "merge": ("scap_ov.cli.cmd_merge", "merge profiles of shards of the data"),
    "build-extension": ("scap_ov.cli.cmd_build_extension", "build the custom op against the installed OpenVINO"),
    "completion": ("scap_ov.cli.cmd_completion", "print a script for bash, zsh or tcsh that completes commands and options"),
    "doctor": ("scap_ov.cli.cmd_doctor", "tell what works on this machine, and what to do where it does not"),
}

_Parser = TypeVar("_Parser", bound=argparse.ArgumentParser)
_NUMBER = re.compile(r"-\.?\d.*")


class Parser(argparse.ArgumentParser):
    """Tells a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def check_options(self, words: Sequence[str]) -> None:
        """Blame a misspelt option, and nothing else: argparse would name what follows it, or a required option that is missing for it.

        :raises UsageError: an option is unknown; the nearest one is named.
        """
        known = [option for action in self._actions for option in action.option_strings]
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            is_option = word.startswith("-") and word != "-" and " " not in word and not _NUMBER.fullmatch(word)
            if not is_option or name in known or any(option.startswith(name) for option in known if name.startswith("--")):
                continue
            if not name.startswith("--") and name[:2] in known:  # -ofile
                continue
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"see `{self.prog} --help`, and put -- before a text that begins with a dash"
            msg = f"unknown option '{name}'; {hint}"
            raise UsageError(msg)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: arguments without the program's name; `sys.argv[1:]` by default.
    :return: 0 on success, 2 on a usage error or bad input, 130 after Ctrl-C, 143 and 129 after SIGTERM and SIGHUP, 1 on any other
        failure.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as `>&-` does
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the terminal cannot show is escaped, rather than an error behind the work
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ended_by_signals():
            return _run(argv)
    except ScapError as e:
        return _fail(str(e), e.exit_code, debug=debug)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt as e:
        number = e.args[0] if e.args else signal.SIGINT
        return _fail("interrupted; nothing half-written is left", 128 + number, debug=debug)
    except Exception as e:  # noqa: BLE001 - the last resort of a program: one line, and the traceback on request
        return _unexpected(e, debug=debug)


def parser_of(name: str) -> tuple[Parser, ModuleType]:
    """The parser of a command, and its module.

    :raises MissingDependencyError: the command needs a package that is not installed.
    """
    return command_parser(name, partial(Parser, prog=f"scap-ov {name}"))


def command_parser(name: str, make: Callable[..., _Parser]) -> tuple[_Parser, ModuleType]:
    """As `parser_of`, with a parser that `make` makes of the words that describe the command.

    :raises MissingDependencyError: the command needs a package that is not installed.
    """
    home, description = COMMANDS[name]
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as e:
        msg = f"`{name}` needs the package {e.name}; install the extra that brings it (export, genai, onnx, report, demo)"
        raise MissingDependencyError(msg) from e
    examples = "".join(f"\n  {line}" for line in getattr(module, "EXAMPLES", ()))
    parser = make(
        description=module.__doc__.splitlines()[0] if module.__doc__ else description,
        epilog=f"examples:{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    group = parser.add_argument_group("messages")
    group.add_argument("-q", "--quiet", action="store_true", help="print errors only, and what a model writes")
    group.add_argument("-v", "--verbose", action="store_true", help="also print what is being done")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser, module


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        _help()
        return 0
    if argv[0] == "--version":
        print(f"scap_ov {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"give one of {', '.join(COMMANDS)}"
        msg = f"unknown command '{name}'; {hint}"
        raise UsageError(msg)
    parser, module = parser_of(name)
    try:
        parser.check_options(argv[1:])
        args = parser.parse_intermixed_args(argv[1:])  # `apply stock --profile p out` too
    except SystemExit as e:  # --help; errors are raised by Parser.error
        return int(e.code or 0)
    from scap_ov.cli.files import check_outputs
    from scap_ov.cli.output import Output

    check_outputs(parser, args)
    with Output(getattr(args, "json", None), quiet=args.quiet, verbose=args.verbose) as out:
        return int(module.run(args, out) or 0)


def _help() -> None:
    print("usage: scap-ov COMMAND ...\n\nActivation pruning for OpenVINO and ONNX models.\n\ncommands:")
    for name, (_, description) in COMMANDS.items():
        print(f"  {name:16} {description}")
    print("\n`scap-ov COMMAND --help` lists a command's options; `scap-ov --version` prints the version.")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Whoever ends us (a batch system, systemd, a closed terminal) gets what Ctrl-C gets: files of ours, and processes, are cleared away.

    A signal that is ignored, as by nohup, stays ignored; where the program that called `main` has a handler, it keeps it.
    """
    ours = threading.current_thread() is threading.main_thread()
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if ours and signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt(number)


def _unexpected(error: Exception, *, debug: bool) -> int:
    if isinstance(error, OSError) and error.filename is not None:
        return _fail(f"{error.filename} cannot be used ({error.strerror}); give another path", 2, debug=debug)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return _fail(f"output cannot be written ({error.strerror}); free some space, or send it somewhere else", 1, debug=debug)
    told = " ".join(str(error).split())[:300]
    return _fail(f"unexpected {type(error).__name__}: {told}; run again with --debug for the traceback", 1, debug=debug)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    from scap_ov.cli.output import shown

    print(f"scap-ov: error: {shown(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
