"""What rounding activations to int8 costs prompts: KL divergence from the same weights multiplied in f32, with every kernel that runs here.

python benchmarks/exactness.py stock sparse --text text.txt

Windows of a text are prompts: their rows are dense in `sparse` unless it prunes every row. Exact is stock in f32 without dynamic
quantisation; stock with the f32 hint and stock with its defaults stand beside. The exact log-probabilities are computed once and kept in
the folder for temporary files: 4 bytes a token and word of the vocabulary, 0.8 GB for 4,096 tokens and 49,152 words.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino as ov
from machine import machine

import scap_ov
from scap_ov.models.dataset import text_dataset
from scap_ov.storage.model_folder import read_model

F32 = {"INFERENCE_PRECISION_HINT": "f32"}
EXACT = {**F32, "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
KERNELS = ("avx512_amx", "avx512_zen4", "avx512_vnni", "avx_vnni", "avx2", "scalar")


def log_probabilities(folder: str, config: dict[str, str], args: argparse.Namespace) -> Iterator[np.ndarray]:
    """Of every window of the text in turn: float32 [T, vocabulary]."""
    core = ov.Core()
    scap_ov.register(core)
    request = core.compile_model(core.read_model(Path(folder) / "openvino_model.xml"), "CPU", config).create_infer_request()
    text = Path(args.text).read_text(encoding="utf-8")
    data = text_dataset(text[len(text) // 2 :], args.stock, read_model(args.stock), seq_len=args.window, max_tokens=args.tokens)
    for inputs in data.get_inference_data():
        request.reset_state()
        request.infer(inputs)
        logits = request.get_tensor("logits").data.reshape(-1, request.get_tensor("logits").shape[-1]).astype(np.float32)
        logits = logits - logits.max(axis=-1, keepdims=True)
        yield logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def keep_exact(folder: Path, args: argparse.Namespace) -> None:
    """Write the exact windows, one file each, for every process to read."""
    for number, window in enumerate(log_probabilities(args.stock, EXACT, args)):
        np.save(folder / f"{number}.npy", window)


def divergence(folder: str, config: dict[str, str], args: argparse.Namespace) -> float:
    """Mean KL divergence from exact, in nats a token."""
    rows = []
    for number, ours in enumerate(log_probabilities(folder, config, args)):
        exact = np.load(Path(args.exact) / f"{number}.npy")
        rows.append((np.exp(exact) * (exact - ours)).sum(axis=-1))
    return float(np.mean(np.concatenate(rows)))


def of_kernel(name: str, args: argparse.Namespace) -> float | None:
    """The figure of a process that is held to one instruction set; None where the CPU lacks it."""
    command = [sys.executable, *sys.argv, "--kernel", name, "--exact", args.exact]
    run = subprocess.run(command, env={**os.environ, "SCAP_OV_ISA": name}, stdout=subprocess.PIPE, check=False)
    return json.loads(run.stdout) if run.returncode == 0 else None


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stock")
    parser.add_argument("sparse")
    parser.add_argument("--text", required=True, help="a text file; its second half is measured on")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--window", type=int, default=512, help="tokens of a prompt")
    parser.add_argument("--kernels", default=",".join(KERNELS[:-1]), help=f"comma list of {', '.join(KERNELS)}")
    parser.add_argument("--kernel", help=argparse.SUPPRESS)
    parser.add_argument("--exact", help=argparse.SUPPRESS)
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.kernel:
        print(json.dumps(divergence(args.sparse, F32, args)))
        return
    with tempfile.TemporaryDirectory() as args.exact:
        keep_exact(Path(args.exact), args)
        rows = {"stock, f32": divergence(args.stock, F32, args), "stock": divergence(args.stock, {}, args)}
        rows |= {f"ours, {name}": kl for name in args.kernels.split(",") if (kl := of_kernel(name, args)) is not None}
    print("| | KL divergence from exact |\n|---|--:|")
    for name, kl in rows.items():
        print(f"| {name} | {kl:.5f} |")
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
