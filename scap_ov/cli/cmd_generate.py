"""Stream text from a model folder through openvino-genai, with its speed."""

from __future__ import annotations

import argparse
import sys

from scap_ov.cli.levels import add_level_option
from scap_ov.cli.options import add_json_option, positive, seed
from scap_ov.cli.output import Output

EXAMPLES = (
    'scap-ov generate sparse "What is the capital of France?"',
    'scap-ov generate sparse --level 0.25 "What is the capital of France?"',
    "cat prompt.txt | scap-ov generate sparse --raw --max-new-tokens 32",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `generate`."""
    parser.add_argument("model", help="folder of the model, stock or sparse")
    parser.add_argument("prompt", nargs="?", help="the prompt; read from standard input when left out")
    parser.add_argument("--max-new-tokens", type=positive, default=128, metavar="N", help="tokens to write, at most (default 128)")
    parser.add_argument("--raw", action="store_true", help="continue the prompt as it stands, without the chat template")
    parser.add_argument("--sample", action="store_true", help="sample at temperature 1 instead of greedy decoding")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of --sample (default 0)")
    parser.add_argument("--backend", default="PA", metavar="PA|SDPA", help="attention back end of openvino-genai (default PA)")
    add_level_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, out: Output) -> None:
    """Generate; the text goes to standard output as it comes, the speed to standard error."""
    from scap_ov.dial import set_level
    from scap_ov.errors import UsageError
    from scap_ov.models.genai import BACKENDS, generate_streamed, library_for, open_pipeline, openvino_file, told
    from scap_ov.storage.model_files import level_name

    if args.backend.upper() not in BACKENDS:
        msg = f"--backend is '{args.backend}'; give PA or SDPA"
        raise UsageError(msg)
    try:
        prompt = args.prompt if args.prompt is not None else sys.stdin.read()
        prompt.encode()
    except UnicodeError as e:
        msg = f"the prompt is no text in the encoding of your locale ({e}); give it as UTF-8"
        raise UsageError(msg) from e
    if not prompt.strip():
        msg = "the prompt is empty; give it as second argument or on standard input"
        raise UsageError(msg)
    xml = openvino_file(args.model)
    pipeline = open_pipeline(xml, args.backend.upper(), library_for(xml))
    if args.level is not None:
        set_level(args.level, level_name(xml))
    config = pipeline.get_generation_config()
    config.max_new_tokens = args.max_new_tokens
    config.do_sample = args.sample
    if args.sample:
        config.temperature, config.rng_seed = 1.0, args.seed
    config.apply_chat_template = not args.raw
    pieces: list[str] = []

    def write(piece: str) -> None:
        pieces.append(piece)
        out.stream(piece)

    with told(xml, "run", "a prompt may be too long for the model, --raw leaves out a chat template that does not fit"):
        metrics = generate_streamed(pipeline, prompt, config, write).perf_metrics
    out.stream("\n")
    speed, first = float(metrics.get_throughput().mean), float(metrics.get_ttft().mean) / 1000
    tokens = int(metrics.get_num_generated_tokens())
    out.note(f"{tokens} tokens, {speed:.1f} tokens/s, first after {first:.3f} s")
    out.figures({"text": "".join(pieces), "tokens": tokens, "decode_tokens_per_s": speed, "ttft_s": first})
