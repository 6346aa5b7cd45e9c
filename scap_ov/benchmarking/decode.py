"""Benchmark whole models through openvino-genai: speed alternating in one process, memory and load time in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from scap_ov.benchmarking.paired import Spread, alternate, median_ratio
from scap_ov.errors import BadModelError, MissingDependencyError, UsageError
from scap_ov.storage.model_files import is_lowered_file, model_file

BACKENDS = ("PA", "SDPA")  # genai's names: paged attention is its default
_VOCABULARY = 1000  # random prompts draw from the first ids, which every vocabulary has


@dataclass(frozen=True)
class ModelSpeed:
    """Figures of one model."""

    decode_tokens_per_s: Spread
    prefill_tokens_per_s: Spread
    ttft_s: Spread
    load_s: Spread
    peak_rss_bytes: Spread


@dataclass(frozen=True)
class BenchmarkResult:
    """Model against reference. The speedups are medians of the ratios of paired, alternating runs."""

    model: ModelSpeed
    reference: ModelSpeed
    decode_speedup: float
    prefill_speedup: float
    decode_ratios: tuple[float, ...]
    prompt_tokens: int
    new_tokens: int
    backend: str


def benchmark(
    model: str | Path,
    reference: str | Path,
    *,
    prompt_tokens: int = 128,
    new_tokens: int = 64,
    repeats: int = 7,
    loads: int = 3,
    backend: str = "PA",
    progress: Callable[[int, int], None] | None = None,
) -> BenchmarkResult:
    """Measure a model folder against another one.

    :param model: folder with openvino_model.xml; tokenizers are needed by openvino-genai.
    :param reference: the stock folder.
    :param prompt_tokens: length of the prompt, random token ids, new ones in every turn (a repeated prompt would come from genai's cache).
    :param new_tokens: tokens that are decoded after the first.
    :param repeats: turns that count; each runs both models.
    :param loads: processes that are started for each model to see its load time and peak memory.
    :param backend: attention back end of openvino-genai: PA (its default) or SDPA.
    :raises MissingDependencyError: openvino-genai is not installed.
    """
    backend = backend.upper()
    if backend not in BACKENDS:
        msg = f"backend is {backend!r}; give PA (paged attention, the default of openvino-genai) or SDPA"
        raise UsageError(msg)
    if min(prompt_tokens, repeats, loads) < 1 or new_tokens < 2:
        msg = "prompt_tokens, repeats and loads must be at least 1, new_tokens at least 2"
        raise UsageError(msg)
    folders = {"model": _folder(model), "reference": _folder(reference)}
    libraries = {name: library_for(folder) for name, folder in folders.items()}
    done = 0
    total = 2 * loads + repeats + 1

    def step(*_: int) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    def probe(name: str) -> Callable[[int], dict[str, float]]:
        def run(_turn: int) -> dict[str, float]:
            step()
            return _probe(folders[name], backend, libraries[name])

        return run

    loaded = alternate({name: probe(name) for name in folders}, loads, warmup=0)
    pipelines = {name: open_pipeline(folder, backend, libraries[name]) for name, folder in folders.items()}
    config = generation(new_tokens)

    def decode(name: str) -> Callable[[int], tuple[float, float]]:
        def run(turn: int) -> tuple[float, float]:
            metrics = pipelines[name].generate(random_prompt(turn + 1, prompt_tokens), config).perf_metrics
            return metrics.get_tpot().mean / 1000, metrics.get_ttft().mean / 1000

        return run

    runs = alternate({name: decode(name) for name in folders}, repeats, progress=step)
    speeds = {name: _speed(runs[name], loaded[name], prompt_tokens) for name in folders}
    ratios = [r[0] / m[0] for m, r in zip(runs["model"], runs["reference"], strict=True)]
    prefill = median_ratio([r[1] for r in runs["reference"]], [m[1] for m in runs["model"]])
    return BenchmarkResult(
        speeds["model"], speeds["reference"], float(np.median(ratios)), prefill, tuple(ratios), prompt_tokens, new_tokens, backend
    )


def _speed(runs: list[tuple[float, float]], loads: list[dict[str, float]], prompt_tokens: int) -> ModelSpeed:
    return ModelSpeed(
        decode_tokens_per_s=Spread.of([1 / tpot for tpot, _ in runs]),
        prefill_tokens_per_s=Spread.of([prompt_tokens / ttft for _, ttft in runs]),
        ttft_s=Spread.of([ttft for _, ttft in runs]),
        load_s=Spread.of([one["load_s"] for one in loads]),
        peak_rss_bytes=Spread.of([one["peak_rss_bytes"] for one in loads]),
    )


def open_pipeline(folder: str | Path, backend: str = "PA", library: str | None = None, **properties: Any) -> Any:
    """An openvino_genai.LLMPipeline of a model folder, with the extension library when one is given.

    In f32 then: the op computes in f32, and where a CPU's default is bf16 the plugin would put conversions around every op (ADR 0011).

    :raises MissingDependencyError: openvino-genai is not installed.
    :raises BadModelError: openvino-genai refuses the folder.
    """
    try:
        import openvino_genai as genai
    except ImportError as e:
        msg = "this needs openvino-genai, which is not installed; pip install scap_ov[genai]"
        raise MissingDependencyError(msg) from e
    if library:
        properties = {"INFERENCE_PRECISION_HINT": "f32", "extensions": [library], **properties}
    if backend == "SDPA":
        properties["ATTENTION_BACKEND"] = "SDPA"
    try:
        return genai.LLMPipeline(str(folder), "CPU", **properties)
    except RuntimeError as e:
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        why = lines[-1] if lines else "no reason given"
        msg = f"openvino-genai cannot load {folder} ({why}); is it a complete model folder with tokenizers?"
        raise BadModelError(msg) from e


def generation(new_tokens: int) -> Any:
    """Greedy, exactly `new_tokens` tokens."""
    import openvino_genai as genai

    return genai.GenerationConfig(max_new_tokens=new_tokens, ignore_eos=True, do_sample=False, apply_chat_template=False)


def random_prompt(seed: int, length: int) -> ov.Tensor:
    """Token ids [1, length]."""
    return ov.Tensor(np.random.default_rng(seed + 12345).integers(10, _VOCABULARY, (1, length), dtype=np.int64))


def _folder(path: str | Path) -> Path:
    if isinstance(path, (str, Path)):
        return model_file(path).parent
    msg = f"the benchmark runs model folders through openvino-genai, got {type(path).__name__}; save the model with its tokenizers first"
    raise UsageError(msg)


def library_for(folder: Path) -> str | None:
    """Path of the extension library when the folder's model needs it, else None."""
    if not is_lowered_file(folder / "openvino_model.xml"):
        return None
    from scap_ov.custom_ops.library import extension_path

    return str(extension_path())


def _probe(folder: Path, backend: str, library: str | None) -> dict[str, float]:
    command = [sys.executable, "-I", "-m", "scap_ov.benchmarking.load_probe", str(folder), backend, library or ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        msg = f"loading {folder} in a process of its own failed ({lines[-1]}); run `scap-ov doctor`"
        raise BadModelError(msg)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result
