"""Requests at once, streams, several compiled models, compiling meanwhile: bit for bit what one request after the other gives. Memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
from report import Part

import scap_ov
from scap_ov.models.dataset import model_inputs
from scap_ov.runtime import register
from scap_ov.storage.model_folder import read_model

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
LENGTHS = (1, 2, 3, 4, 5, 7, 20, 40)  # of prompts: pruned steps and dense ones
REQUESTS, CASES = 8, 32
_PAGE = 4096


def concurrency(folders: list[Path], seconds: float) -> Part:
    """Every model: requests at once by streams and threads, then for `seconds` threads that infer while others compile."""
    part = Part("Concurrency")
    core = ov.Core()
    register(core)
    for folder in folders:
        model = read_model(folder, core)
        single = _at_a_time(core.compile_model(model, "CPU", EXACT | {"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": 1}), model)
        for streams, threads in ((1, 2), (2, 2), (2, 4)):
            compiled = core.compile_model(model, "CPU", EXACT | {"NUM_STREAMS": str(streams), "INFERENCE_NUM_THREADS": threads})
            together = _at_once(compiled, model)
            part.count("inferences at once", CASES)
            differ = sum(not np.array_equal(a, b) for a, b in zip(single, together, strict=True))
            part.check(not differ, f"{folder.name}, {streams} streams, {threads} threads: {differ} of {CASES} differ from one by one")
        _while_compiling(part, core, folder, model, single, seconds / len(folders))
    return part


def _feeds(model: ov.Model, case: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(case)
    return model_inputs(model, rng.integers(0, 100, (1, LENGTHS[case % len(LENGTHS)])))


def _infer(request: ov.InferRequest, feeds: dict[str, np.ndarray]) -> np.ndarray:
    for state in request.query_state():
        state.reset()
    return np.array(request.infer(feeds)[0])


def _at_a_time(compiled: ov.CompiledModel, model: ov.Model) -> list[np.ndarray]:
    request = compiled.create_infer_request()
    return [_infer(request, _feeds(model, case)) for case in range(CASES)]


def _at_once(compiled: ov.CompiledModel, model: ov.Model) -> list[np.ndarray]:
    requests = [compiled.create_infer_request() for _ in range(REQUESTS)]
    found = []
    for first in range(0, CASES, REQUESTS):
        for number, request in enumerate(requests):
            for state in request.query_state():
                state.reset()
            request.start_async(_feeds(model, first + number))
        for request in requests:
            request.wait()
            found.append(np.array(request.get_output_tensor(0).data))
    return found


def _while_compiling(part: Part, core: ov.Core, folder: Path, model: ov.Model, single: list[np.ndarray], seconds: float) -> None:
    shared = [core.compile_model(model, "CPU", EXACT | {"NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": 2}) for _ in range(2)]
    over, lock = threading.Event(), threading.Lock()

    def worker(work: Callable[[], np.ndarray | None], what: str) -> None:
        while not over.is_set():
            try:
                wrong = work()
            except RuntimeError as e:
                wrong = str(e)
            with lock:
                part.count(what)
                part.check(wrong is None, f"{folder.name}, {what}: {wrong}")

    def infer(number: int) -> Callable[[], str | None]:
        request, rng = shared[number % len(shared)].create_infer_request(), np.random.default_rng(number)

        def work() -> str | None:
            case = int(rng.integers(CASES))
            return None if np.array_equal(_infer(request, _feeds(model, case)), single[case]) else f"case {case} differs"

        return work

    def compile_() -> str | None:
        compiled = core.compile_model(read_model(folder, core), "CPU", EXACT)
        compiled.export_model()
        return None if np.array_equal(_infer(compiled.create_infer_request(), _feeds(model, 0)), single[0]) else "case 0 differs"

    threads = [threading.Thread(target=worker, args=(infer(n), "inferences while compiling")) for n in range(4)]
    threads.append(threading.Thread(target=worker, args=(compile_, "compilations while inferring")))
    for thread in threads:
        thread.start()
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join()


def switching(part: Part, folder: Path, levels: tuple[float, ...], seconds: float) -> None:
    """Requests at once while the level is switched: every one gives, bit for bit, what one of the levels gives."""
    core = ov.Core()
    register(core)
    model = read_model(folder, core)
    compiled = core.compile_model(model, "CPU", EXACT | {"NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": 2})
    request, wanted = compiled.create_infer_request(), {}
    for level in levels:
        scap_ov.set_level(level)
        wanted[level] = [_infer(request, _feeds(model, case)) for case in range(CASES)]
    part.check(
        not all(np.array_equal(wanted[levels[0]][0], other[0]) for other in wanted.values()), "levels give the same, so nothing is tried"
    )
    over, lock = threading.Event(), threading.Lock()

    def infer(number: int) -> None:
        request, rng = compiled.create_infer_request(), np.random.default_rng(number)
        while not over.is_set():
            case = int(rng.integers(CASES))
            found = _infer(request, _feeds(model, case))
            with lock:
                part.count("inferences while levels are switched")
                held = any(np.array_equal(found, of_level[case]) for of_level in wanted.values())
                part.check(held, f"{folder.name}: case {case} gives what no level gives")

    threads = [threading.Thread(target=infer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    until, rng = time.monotonic() + seconds, np.random.default_rng(0)
    while time.monotonic() < until:
        scap_ov.set_level(float(rng.choice(levels)))
        time.sleep(0.0005)
    over.set()
    for thread in threads:
        thread.join()


def soak(folder: Path, steps: int) -> Part:
    """Decode steps of one request, its state emptied now and then; resident memory must not grow."""
    part = Part("Memory over decode steps")
    core = ov.Core()
    register(core)
    model = read_model(folder, core)
    request = core.compile_model(model, "CPU", EXACT | {"INFERENCE_NUM_THREADS": 1}).create_infer_request()
    seen: list[tuple[int, float]] = []
    length = 64
    for step in range(steps):
        position = step % length
        if position == 0:
            for state in request.query_state():
                state.reset()
        feeds = model_inputs(model, np.full((1, 1), step % 100))
        feeds["attention_mask"] = np.ones((1, position + 1), np.int64)
        if "position_ids" in feeds:
            feeds["position_ids"] = np.full((1, 1), position, np.int64)
        request.infer(feeds, share_inputs=True)
        if step >= steps // 5 and step % max(steps // 50, 1) == 0:  # behind what caches and pools take at the start
            seen.append((step, _resident()))
    slope = float(np.polyfit(*np.array(seen, float).T, 1)[0])  # bytes a step
    part.figures |= {"steps": steps, "bytes a step": round(slope, 3), "resident MB at the end": round(seen[-1][1] / 1e6, 1)}
    allowed = max(2.0, 2e6 / steps)  # 200 kB in 100,000 steps; short runs are coarser, pages being what is counted
    part.check(slope < allowed, f"resident memory grows by {slope:.2f} bytes a step over {steps} steps; allowed are {allowed:.2f}")
    return part


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
