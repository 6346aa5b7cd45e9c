"""Print a script that lets a shell complete commands, options and files."""

from __future__ import annotations

import argparse
import re

from scap_ov.cli.options import add_json_option
from scap_ov.cli.output import Output
from scap_ov.errors import UsageError
from scap_ov.optional import optional

SHELLS = ("bash", "zsh", "tcsh")
_VALUES = re.compile(r"[a-z_0-9]+(\|[a-z_0-9]+)+", re.IGNORECASE)

EXAMPLES = (
    "scap-ov completion bash > ~/.local/share/bash-completion/completions/scap-ov",
    "scap-ov completion zsh > ~/.zfunc/_scap-ov",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `completion`."""
    parser.add_argument("shell", metavar="|".join(SHELLS), help="the shell that the script is for")
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Print the script.

    :raises UsageError: the shell is none of SHELLS.
    """
    if args.shell not in SHELLS:
        msg = f"there is no completion for '{args.shell}'; give one of {', '.join(SHELLS)}"
        raise UsageError(msg)
    script = script_for(args.shell)
    out.stream(script + "\n")
    out.figures({"shell": args.shell, "script": script})


def script_for(shell: str) -> str:
    """The script, from the parsers of all commands.

    :param shell: one of SHELLS.
    """
    from scap_ov.cli.main import COMMANDS, command_parser

    shtab = optional("shtab", "completion needs", "shtab")
    root = argparse.ArgumentParser(prog="scap-ov")
    commands = root.add_subparsers(dest="command")
    for name, (_, description) in COMMANDS.items():
        parser, _ = command_parser(name, lambda name=name, help_=description, **words: commands.add_parser(name, help=help_, **words))
        for action in parser._actions:  # noqa: SLF001 - argparse has no other list of them
            _teach(action, shtab)
    return str(shtab.complete(root, shell))


def _teach(action: argparse.Action, shtab: object) -> None:
    """Tell what an argument takes: one of the words in its metavar, or a file."""
    if action.nargs == 0:
        return
    words = str(action.metavar or "")
    if _VALUES.fullmatch(words) and not words.isupper():
        action.choices = words.split("|")
    elif any(kind in words for kind in ("FILE", "FOLDER", "output")) or not action.option_strings:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
