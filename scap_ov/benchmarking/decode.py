"""Benchmark whole models through openvino-genai: speed alternating in one process, memory and load time in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from scap_ov.arguments import check_count, check_progress, check_type
from scap_ov.benchmarking.paired import Spread, alternate, median_ratio
from scap_ov.dial import set_level
from scap_ov.errors import BadModelError, UsageError
from scap_ov.models.genai import BACKENDS, import_genai, library_for, open_pipeline, openvino_file, tokenizer_missing, told
from scap_ov.progress import Progress
from scap_ov.storage.model_files import level_name

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
class LevelSpeed:
    """One level of a model with several, in the same alternating runs; the speedups are medians of paired ratios to the reference."""

    level: float
    decode_tokens_per_s: Spread
    decode_speedup: float
    prefill_speedup: float


@dataclass(frozen=True)
class BenchmarkResult:
    """Model against reference. The speedups are medians of the ratios of paired, alternating runs.

    :param levels: of a model with levels those that were asked for; `model` then holds the figures of the last one.
    """

    model: ModelSpeed
    reference: ModelSpeed
    decode_speedup: float
    prefill_speedup: float
    decode_ratios: tuple[float, ...]
    prompt_tokens: int
    new_tokens: int
    backend: str
    levels: tuple[LevelSpeed, ...] = ()


def benchmark(
    model: str | Path,
    reference: str | Path,
    *,
    prompt_tokens: int = 128,
    new_tokens: int = 64,
    repeats: int = 7,
    loads: int = 3,
    backend: str = "PA",
    levels: Sequence[float] = (),
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Measure a model folder against another one.

    :param model: folder with openvino_model.xml; tokenizers are needed by openvino-genai.
    :param reference: the stock folder.
    :param prompt_tokens: length of the prompt, random token ids, new ones in every turn (a repeated prompt would come from genai's cache).
    :param new_tokens: tokens that are decoded after the first.
    :param repeats: turns that count; each runs both models.
    :param loads: processes that are started for each model to see its load time and peak memory.
    :param backend: attention back end of openvino-genai: PA (its default) or SDPA.
    :param levels: of a model with levels, those to measure, in the order given; without it the model runs with the one that is chosen.
    :raises UsageError: the model has not all of these levels.
    :raises MissingDependencyError: openvino-genai is not installed.
    """
    _check_options(backend, prompt_tokens, new_tokens, repeats, loads)
    backend = backend.upper()
    check_type("levels", levels, Sequence, "a list of levels, such as [0.25, 0.5]")
    check_progress(progress)
    files = {"model": _file(model), "reference": _file(reference)}
    libraries = {name: library_for(file) for name, file in files.items()}
    step = _Steps(progress, 2 * loads + repeats + 1)

    def probe(name: str) -> Callable[[int], dict[str, float]]:
        def run(_turn: int) -> dict[str, float]:
            step()
            return _probe(files[name], backend, libraries[name])

        return run

    loaded = alternate({name: probe(name) for name in files}, loads, warmup=0)
    turns = {name: _Turns(file, open_pipeline(file, backend, libraries[name]), prompt_tokens, new_tokens) for name, file in files.items()}
    _check_levels(levels, files["model"])
    of_model = {f"{level:g}": turns["model"].decode(level, number << 16) for number, level in enumerate(levels)}
    of_model = of_model or {"model": turns["model"].decode()}
    runs = alternate({**of_model, "reference": turns["reference"].decode()}, repeats, progress=step)
    last = list(of_model)[-1]
    speeds = {name: _speed(runs[last if name == "model" else name], loaded[name], prompt_tokens) for name in files}
    measured = tuple(_level_speed(level, runs[f"{level:g}"], runs["reference"]) for level in levels)
    ratios = [r[0] / m[0] for m, r in zip(runs[last], runs["reference"], strict=True)]
    prefill = median_ratio([r[1] for r in runs["reference"]], [m[1] for m in runs[last]])
    return BenchmarkResult(
        speeds["model"], speeds["reference"], float(np.median(ratios)), prefill, tuple(ratios), prompt_tokens, new_tokens, backend, measured
    )


@dataclass
class _Steps:
    """Progress of all that is measured, loads and turns alike."""

    progress: Progress | None
    total: int
    done: int = 0

    def __call__(self, _done: int = 0, _total: int | None = None) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)


@dataclass(frozen=True)
class _Turns:
    """A pipeline, and what it is asked in every turn."""

    file: Path
    pipeline: Any
    prompt_tokens: int
    new_tokens: int

    def decode(self, level: float | None = None, prompts: int = 0) -> Callable[[int], tuple[float, float]]:
        """A function of the turn -> seconds per token, seconds to the first one."""
        config = generation(self.new_tokens)

        def run(turn: int) -> tuple[float, float]:
            if level is not None:
                set_level(level, level_name(self.file))
            with told(self.file, "run", f"does it take {self.prompt_tokens + self.new_tokens} tokens?"):
                metrics = self.pipeline.generate(random_prompt(prompts + turn + 1, self.prompt_tokens), config).perf_metrics
            return metrics.get_tpot().mean / 1000, metrics.get_ttft().mean / 1000

        return run


def _check_options(backend: str, prompt_tokens: int, new_tokens: int, repeats: int, loads: int) -> None:
    if not isinstance(backend, str) or backend.upper() not in BACKENDS:
        msg = f"backend is {backend!r}; give PA (paged attention, the default of openvino-genai) or SDPA"
        raise UsageError(msg)
    for name, value in (("prompt_tokens", prompt_tokens), ("repeats", repeats), ("loads", loads)):
        check_count(name, value, 1)
    check_count("new_tokens", new_tokens, 2)


def _check_levels(levels: Sequence[float], file: Path) -> None:
    """Refuse what the model, which is open, has not, before anything is measured."""
    for level in levels:
        set_level(level, level_name(file))


def _level_speed(level: float, runs: list[tuple[float, float]], reference: list[tuple[float, float]]) -> LevelSpeed:
    decode, prefill = (median_ratio([r[i] for r in reference], [m[i] for m in runs]) for i in range(2))
    return LevelSpeed(level, Spread.of([1 / tpot for tpot, _ in runs]), decode, prefill)


def _speed(runs: list[tuple[float, float]], loads: list[dict[str, float]], prompt_tokens: int) -> ModelSpeed:
    return ModelSpeed(
        decode_tokens_per_s=Spread.of([1 / tpot for tpot, _ in runs]),
        prefill_tokens_per_s=Spread.of([prompt_tokens / ttft for _, ttft in runs]),
        ttft_s=Spread.of([ttft for _, ttft in runs]),
        load_s=Spread.of([one["load_s"] for one in loads]),
        peak_rss_bytes=Spread.of([one["peak_rss_bytes"] for one in loads]),
    )


def generation(new_tokens: int) -> Any:
    """Greedy, exactly `new_tokens` tokens."""
    return import_genai().GenerationConfig(max_new_tokens=new_tokens, ignore_eos=True, do_sample=False, apply_chat_template=False)


def random_prompt(seed: int, length: int) -> ov.Tensor:
    """Token ids [1, length]."""
    return ov.Tensor(np.random.default_rng(seed + 12345).integers(10, _VOCABULARY, (1, length), dtype=np.int64))


def _file(path: str | Path) -> Path:
    if isinstance(path, (str, Path)):
        return openvino_file(path)
    msg = f"the benchmark runs model folders through openvino-genai, got {type(path).__name__}; save the model with its tokenizers first"
    raise UsageError(msg)


def _probe(file: Path, backend: str, library: str | None) -> dict[str, float]:
    command = [sys.executable, "-I", "-m", "scap_ov.benchmarking.load_probe", str(file), backend, library or ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        msg = f"loading {file} in a process of its own failed ({lines[-1]}); {tokenizer_missing(file) or 'run `scap-ov doctor`'}"
        raise BadModelError(msg)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result
