"""Pack a model, the libraries that run it and a C++ runner into one archive for a device without Python."""

from __future__ import annotations

import argparse

from scap_ov.cli.files import OutputFile
from scap_ov.cli.options import add_json_option
from scap_ov.cli.output import Output

EXAMPLES = (
    "scap-ov bundle sparse sparse.tar.gz --compile",
    "scap-ov bundle sparse sparse.tar --libraries list",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bundle`."""
    parser.add_argument("model", help="model folder that `apply` wrote, or a stock one")
    parser.add_argument("output", type=OutputFile, help="the archive: .tar.gz, .tgz, or .tar (not compressed)")
    parser.add_argument("--compile", action="store_true", help="also compile the runner and include it; needs cmake and a C++ compiler")
    parser.add_argument("--libraries", default="copy", metavar="copy|list", help="copy the libraries (default), or only list them")
    parser.add_argument("--genai", action="store_true", help="openvino-genai's library as well, for programs of your own")
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Collect and write."""
    from scap_ov.deploy.collect import collect, write_bundle
    from scap_ov.storage.companions import told

    if args.compile:
        out.say("compiling the runner")
    bundle = collect(args.model, args.output, libraries=args.libraries, genai=args.genai, compiled=args.compile, verbose=args.verbose)
    for line in told(bundle.beside):
        out.say(f"  {line}")
    with out.progress("packing (bytes)") as bar:
        size = write_bundle(bundle, args.output, progress=bar)
    folders: dict[str, int] = {}
    for member in bundle.members:
        folder = member.name.partition("/")[0]
        folders[folder] = folders.get(folder, 0) + member.size
    parts = ", ".join(f"{name} {amount / 1e6:.1f} MB" for name, amount in folders.items())
    out.say(f"{args.output}: {size / 1e6:.1f} MB; unpacked {sum(folders.values()) / 1e6:.1f} MB ({parts})")
    if not bundle.has_runner:
        out.say("  the runner is in it as source; --compile puts the program in too")
    files = [{"name": member.name, "bytes": member.size} for member in sorted(bundle.members, key=lambda m: m.name)]
    libraries = [
        {"name": item.path.name, "bytes": item.path.stat().st_size, "package": item.package, "version": item.version}
        for item in bundle.libraries
    ]
    out.figures({"bundle": str(args.output), "bytes": size, "unpacked_bytes": sum(folders.values()), "files": files,
                 "libraries": libraries, "system": bundle.system})  # fmt: skip
