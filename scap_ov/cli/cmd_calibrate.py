"""Observe the activations of a model on data, and write a profile from which every method can be fitted."""

from __future__ import annotations

import argparse
from pathlib import Path

from scap_ov.cli.data import calibration_dataset
from scap_ov.cli.options import add_data_options, add_json_option
from scap_ov.cli.output import Output
from scap_ov.config import SparsityConfig
from scap_ov.errors import OutputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `calibrate`."""
    parser.add_argument("model", help="folder of the stock model, or its .xml or .onnx")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the profile, a .safetensors file")
    parser.add_argument("--sequential", action="store_true", help="observe once more behind pruned sites (slower)")
    parser.add_argument("--checkpoint", metavar="FILE", help="keep an interrupted measurement of sensitivity here, and go on from it")
    add_data_options(parser, default="self", tokens=16_384)
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Calibrate and save."""
    from scap_ov import api
    from scap_ov.backends import backend_of

    output = Path(args.output)
    if output.exists() or not output.absolute().parent.is_dir():
        why = "exists already" if output.exists() else "is in a folder that does not exist"
        msg = f"the profile {output} {why}; give a new file in an existing folder"
        raise OutputError(msg)
    backend = backend_of(args.model)
    model = backend.open_model(args.model)
    backend.check_stock(model)
    backend.find(model, SparsityConfig())
    dataset = calibration_dataset(args, model, out)
    with out.progress("observing (samples)") as bar:
        profile = api.calibrate(model, dataset, sequential=args.sequential, checkpoint=args.checkpoint, progress=bar)
    profile.save(output)
    out.say(f"{output}: {len(profile.sites)} sites, {profile.metadata['samples']} samples, {profile.metadata['tokens']} tokens")
    out.figures({"profile": str(output), "sites": len(profile.sites), "fingerprint": profile.fingerprint, **profile.metadata})
