"""Build the custom op against the installed OpenVINO release."""

from __future__ import annotations

import argparse

from scap_ov.cli.options import add_json_option
from scap_ov.cli.output import Output

EXAMPLES = (
    "scap-ov build-extension",
    "scap-ov build-extension --verbose",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `build-extension`."""
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Build."""
    from scap_ov.custom_ops.build import build_extension

    out.say("building the extension library; this takes a minute or two")
    path = build_extension(verbose=args.verbose)
    out.say(f"built {path}")
    out.figures({"library": str(path)})
