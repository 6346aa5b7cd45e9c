"""Measure speed and memory of a model folder against the stock one through openvino-genai, in alternating runs."""

from __future__ import annotations

import argparse

from scap_ov.cli.levels import add_levels_option, chosen_levels
from scap_ov.cli.options import add_json_option, positive
from scap_ov.cli.output import Output

EXAMPLES = (
    "scap-ov bench sparse --reference stock",
    "scap-ov bench sparse --reference stock --levels all",
    "scap-ov bench sparse --reference stock --prompt-tokens 512 --json bench.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bench`."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("--reference", required=True, help="folder of the stock model")
    parser.add_argument("--prompt-tokens", type=positive, default=128, metavar="N", help="length of the prompt (default 128)")
    parser.add_argument("--new-tokens", type=positive, default=64, metavar="N", help="tokens to decode (default 64)")
    parser.add_argument("--repeats", type=positive, default=7, metavar="N", help="turns, each of both models (default 7)")
    parser.add_argument("--loads", type=positive, default=3, metavar="N", help="processes per model for load time and memory (default 3)")
    parser.add_argument("--backend", default="PA", metavar="PA|SDPA", help="attention back end of openvino-genai (default PA)")
    add_levels_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Benchmark, print a table, write the figures."""
    from scap_ov import api

    levels = chosen_levels(args)
    with out.progress("measuring") as bar:
        result = api.benchmark(args.model, args.reference, prompt_tokens=args.prompt_tokens, new_tokens=args.new_tokens,
                               repeats=args.repeats, loads=args.loads, backend=args.backend, levels=levels, progress=bar)  # fmt: skip
    rows = []
    units = (("decode_tokens_per_s", "decode, tokens/s", 1), ("prefill_tokens_per_s", "prompt, tokens/s", 1),
             ("ttft_s", "first token, ms", 1e3), ("load_s", "load, s", 1), ("peak_rss_bytes", "peak memory, MB", 1e-6))  # fmt: skip
    for name, label, factor in units:
        spreads = [getattr(side, name) for side in (result.model, result.reference)]
        rows.append((label, *(f"{s.median * factor:.4g} ({s.min * factor:.4g} to {s.max * factor:.4g})" for s in spreads)))
    out.table(
        f"{result.prompt_tokens} prompt tokens, {result.new_tokens} new ones, {result.backend}",
        ("median (min to max)", "model", "reference"),
        rows,
    )
    if result.levels:
        speeds = [
            (f"{each.level:g}", f"{each.decode_tokens_per_s.median:.4g}", f"{each.decode_speedup:.3f}x", f"{each.prefill_speedup:.3f}x")
            for each in result.levels
        ]
        out.table("Levels, against the reference", ("level", "decode, tokens/s", "decode", "prompt"), speeds)
    out.say(f"decode {result.decode_speedup:.3f}x, prompt {result.prefill_speedup:.3f}x (medians of the ratios of paired runs)")
    out.figures(result)
