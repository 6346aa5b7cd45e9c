"""Merge the profiles of shards of the data into the profile of all of it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from scap_ov.cli.files import OutputFile
from scap_ov.cli.options import add_json_option
from scap_ov.cli.output import Output
from scap_ov.errors import UsageError

EXAMPLES = (
    "scap-ov merge shard-1.safetensors shard-2.safetensors -o profile.safetensors",
    "scap-ov merge shards/*.safetensors -o profile.safetensors --overwrite",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `merge`."""
    parser.add_argument("profiles", nargs="+", help="files that `scap-ov calibrate` wrote")
    parser.add_argument("-o", "--output", required=True, type=OutputFile, metavar="FILE", help="the merged profile")
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Merge and save."""
    from scap_ov.statistics.profile import CalibrationProfile

    _refuse_same_file(args.profiles)
    profiles = [CalibrationProfile.load(path) for path in args.profiles]
    merged = profiles[0].merge(*profiles[1:])
    merged.save(args.output)
    out.say(f"{args.output}: {len(profiles)} profiles, {merged.metadata['samples']} samples, {merged.metadata['tokens']} tokens")
    if merged.missing_shards:
        out.say(f"  shards that are missing: {', '.join(merged.missing_shards)}")
    out.figures({"profile": args.output, "merged": len(profiles), **merged.metadata})


def _refuse_same_file(paths: Sequence[str]) -> None:
    """Files that are given twice, by whatever name, before anything is read."""
    seen: dict[str, str] = {}
    for path in paths:
        real = os.path.realpath(path)
        if real in seen:
            msg = f"{path} is the same file as {seen[real]}, whose data would count twice; give each profile once"
            raise UsageError(msg)
        seen[real] = path
