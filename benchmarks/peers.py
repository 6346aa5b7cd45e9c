"""Decode and prompt speed of other engines on the same model: OpenVINO, llama.cpp and onnxruntime against ours at 50 %, alternating.

    pip install 'scap_ov[peers]'      # llama-cpp-python compiles for some minutes
    python benchmarks/peers.py --work bench_models --json peers.json

Weights of four bits stand against Q4_0 and MatMulNBits of four, of eight against Q8_0 and MatMulNBits of eight; all engines get the same
threads, prompts and number of tokens. The 1B shape has random weights; onnxruntime runs SmolLM2 only, for its quantiser takes no
model of more than 2 GB.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from machine import machine
from model_pairs import REAL, pair, real

from scap_ov.benchmarking.decode import generation
from scap_ov.benchmarking.paired import Spread, alternate, median_ratio
from scap_ov.models.genai import library_for, open_pipeline
from scap_ov.sample_models.random_gguf import write_gguf
from scap_ov.sample_models.random_llm import SHAPES
from scap_ov.sample_models.source import find_gguf

Run = Callable[[np.ndarray, int], tuple[float, float]]  # prompt ids, new tokens -> seconds of the prompt, seconds a token
LLAMA_TYPES = {"Q4_0": 2, "Q8_0": 7}  # enum llama_ftype of llama.h
BITS = {"u4": ("Q4_0", 4), "i4": ("Q4_0", 4), "i8": ("Q8_0", 8)}


def main() -> None:
    """Measure every engine on every model, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("bench_models"))
    parser.add_argument("--models", default=f"{REAL}:u4,{REAL}:i8,llama-3.2-1b:i4", help="model:weights of ours")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--llama-batch", type=int, default=512, help="1 where llama.cpp crashes in batches; its prompt speed says nothing then"
    )
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    for item in args.models.split(","):
        name, _, weights = item.partition(":")
        results += _measure(name, weights, args)
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine(), "results": results}, indent=2) + "\n", encoding="utf-8")


def _measure(name: str, weights: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    stock, sparse = pair(name, weights, args.sparsity, None if name == REAL else SHAPES[name].layers, real(args.work), args.work)
    llama, bits = BITS[weights]
    engines: dict[str, Run] = {
        f"scap_ov {args.sparsity:.0%}": _openvino(sparse),
        "OpenVINO": _openvino(stock),
        "OpenVINO in f32": _openvino(stock, INFERENCE_PRECISION_HINT="f32"),  # as ours: what of the gain is the hint's
    }
    if importlib.util.find_spec("llama_cpp"):
        engines[f"llama.cpp {llama}"] = _llama(_gguf(name, llama, args.work), args.prompt + args.new_tokens + 8, args.llama_batch)
    else:
        print("llama.cpp is left out: llama-cpp-python is not installed, pip install 'scap_ov[peers]'", file=sys.stderr)
    if name == REAL:
        engines[f"onnxruntime {bits} bits"] = _onnxruntime(bits)
    vocabulary = np.random.default_rng(1)
    prompts = [vocabulary.integers(10, 1000, args.prompt) for _ in range(args.repeats + 1)]
    runs = {engine: _turn(run, prompts, args.new_tokens) for engine, run in engines.items()}
    times = alternate(runs, args.repeats)
    ours = times[next(iter(engines))]
    entries = []
    for engine, own in times.items():
        entry = {
            "name": name,
            "engine": engine,
            "weights": weights,
            "decode_tokens_per_s": Spread.of([1 / token for _, token in own]).__dict__,
            "prefill_tokens_per_s": Spread.of([args.prompt / prompt for prompt, _ in own]).__dict__,
            "ours_over_this": median_ratio([t for _, t in own], [t for _, t in ours]),
        }
        line = "{name} {weights} {engine}: ours decodes {ours_over_this:.2f}x as fast".format(**entry)
        print(line, file=sys.stderr, flush=True)
        entries.append(entry)
    return entries


def _turn(run: Run, prompts: list[np.ndarray], new_tokens: int) -> Callable[[int], tuple[float, float]]:
    return lambda turn: run(prompts[turn], new_tokens)


def _openvino(folder: Path, **properties: str) -> Run:
    pipeline = open_pipeline(folder, "PA", library_for(folder), **properties)

    def run(prompt: np.ndarray, new_tokens: int) -> tuple[float, float]:
        metrics = pipeline.generate(ov.Tensor(prompt[None]), generation(new_tokens)).perf_metrics
        return metrics.get_ttft().mean / 1000, metrics.get_tpot().mean / 1000

    return run


def _gguf(name: str, kind: str, work: Path) -> Path:
    """The model's GGUF file of a type, made by llama.cpp's own quantiser when it is not there."""
    import llama_cpp

    target = work / f"{name}-{kind}.gguf"
    if target.is_file():
        return target
    source = find_gguf() if name == REAL else write_gguf(SHAPES[name], work / f"{name}-f16.gguf")
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = LLAMA_TYPES[kind]
    parameters.allow_requantize = True
    part = target.with_suffix(".part")
    if llama_cpp.llama_model_quantize(str(source).encode(), str(part).encode(), parameters):
        msg = f"llama.cpp could not quantise {source} to {kind}"
        raise SystemExit(msg)
    part.rename(target)
    return target


def _llama(path: Path, context: int, batch: int) -> Run:
    import llama_cpp

    threads = len(os.sched_getaffinity(0))
    model = llama_cpp.Llama(str(path), n_ctx=context, n_batch=batch, n_threads=threads, n_threads_batch=threads, verbose=False)

    def run(prompt: np.ndarray, new_tokens: int) -> tuple[float, float]:
        model.reset()
        start = time.perf_counter()
        model.eval(prompt.tolist())
        token = model.sample(temp=0.0)
        first = time.perf_counter()
        for _ in range(new_tokens - 1):
            model.eval([token])
            token = model.sample(temp=0.0)
        return first - start, (time.perf_counter() - first) / (new_tokens - 1)

    return run


def _onnxruntime(bits: int) -> Run:
    import onnxruntime as ort
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    from scap_ov.sample_models.gguf_weights import llama_of
    from scap_ov.sample_models.onnx_decoder import decoder

    shape, rotary, weights = llama_of(find_gguf())
    weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])  # tied and transposed it would stay f32
    logging.getLogger("onnxruntime.quantization").setLevel(logging.WARNING)
    quantiser = MatMulNBitsQuantizer(decoder(shape, weights, rotary), bits=bits, block_size=32, accuracy_level=4)
    quantiser.process()
    options = ort.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = ort.InferenceSession(quantiser.model.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    pasts = [i for i in session.get_inputs() if i.name.startswith("past_key_values")]

    def step(ids: np.ndarray, past: dict[str, Any], done: int) -> tuple[int, dict[str, Any]]:
        total = done + ids.shape[1]
        values = {"input_ids": ids, "attention_mask": np.ones((1, total), np.int64), "position_ids": np.arange(done, total)[None]}
        feeds = {k: ort.OrtValue.ortvalue_from_numpy(v.astype(np.int64)) for k, v in values.items()} | past
        found = dict(zip(names, session.run_with_ort_values(names, feeds), strict=True))
        kept = {k.replace("present", "past_key_values"): v for k, v in found.items() if k.startswith("present")}
        return int(found["logits"].numpy()[0, -1].argmax()), kept

    def run(prompt: np.ndarray, new_tokens: int) -> tuple[float, float]:
        empty = {i.name: ort.OrtValue.ortvalue_from_numpy(np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32)) for i in pasts}
        start = time.perf_counter()
        token, past = step(prompt[None], empty, 0)
        first = time.perf_counter()
        for done in range(new_tokens - 1):
            token, past = step(np.array([[token]]), past, len(prompt) + done)
        return first - start, (time.perf_counter() - first) / (new_tokens - 1)

    return run


if __name__ == "__main__":
    main()
