"""Observe the activations of a model on data, and write a profile from which every method can be fitted."""

from __future__ import annotations

import argparse

from scap_ov.cli.data import calibration_dataset
from scap_ov.cli.files import OutputFile
from scap_ov.cli.options import add_data_options, add_json_option
from scap_ov.cli.output import Output
from scap_ov.config import WEIGHT_FORMATS, SparsityConfig
from scap_ov.errors import UsageError

EXAMPLES = (
    "scap-ov calibrate stock -o profile.safetensors",
    "scap-ov calibrate stock --data my_text.txt --tokens 8192 -o profile.safetensors",
    "scap-ov calibrate stock --data my_text.txt --tokens 262144 --shard 3/16 -o part-3.safetensors",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `calibrate`."""
    parser.add_argument("model", help="folder of the stock model, or its .xml or .onnx")
    parser.add_argument("-o", "--output", required=True, type=OutputFile, metavar="FILE", help="the profile, a .safetensors file")
    parser.add_argument("--sequential", action="store_true", help="observe a second time, with the sites before pruned (slower)")
    parser.add_argument("--checkpoint", metavar="FILE", help="keep an interrupted measurement of sensitivity here, and go on from it")
    parser.add_argument("--memory", metavar="SIZE", help="limit on memory, such as 8GB: smaller groups of samples, more passes")
    parser.add_argument(
        "--weight-format",
        default="as_is",
        metavar="|".join(WEIGHT_FORMATS),
        help="the --weight-format that `apply` will be given with this profile",
    )
    shard = "use the third of sixteen equal parts of the data, on one of sixteen machines; `scap-ov merge` puts the profiles together"
    parser.add_argument("--shard", metavar="3/16", help=shard)
    add_data_options(parser, default="self", tokens=16_384)
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Calibrate and save."""
    from scap_ov import api
    from scap_ov.backends import backend_of
    from scap_ov.calibration.checkpoint import check_checkpoint
    from scap_ov.calibration.cost import parse_bytes
    from scap_ov.statistics.shards import shard_numbers

    shard = None if args.shard is None else shard_numbers(args.shard)
    if shard is not None and args.sequential:
        msg = "--sequential profiles cannot be merged; leave it out, or calibrate without --shard"
        raise UsageError(msg)
    if args.checkpoint:
        check_checkpoint(args.checkpoint)
    memory = None if args.memory is None else parse_bytes(args.memory)
    backend = backend_of(args.model)
    model = backend.open_model(args.model)
    backend.check_stock(model)
    SparsityConfig(weight_format=args.weight_format)  # refused before the long work
    backend.find(model, SparsityConfig())
    dataset = calibration_dataset(args, model.model, out, shard=shard)
    cost = backend.cost(model, dataset, memory)
    if cost is not None:
        out.say(str(cost))
    options = {"sequential": args.sequential, "weight_format": args.weight_format, "checkpoint": args.checkpoint, "memory": memory}
    with out.progress("observing (samples)") as bar:
        profile = api.calibrate(model, dataset, **options, progress=bar)
    if shard is not None:
        profile = profile.of_shard("{}/{}".format(*shard))
    profile.save(args.output)
    out.say(f"{args.output}: {len(profile.sites)} sites, {profile.metadata['samples']} samples, {profile.metadata['tokens']} tokens")
    out.figures({"profile": args.output, "sites": len(profile.sites), "fingerprint": profile.fingerprint, **profile.metadata})
