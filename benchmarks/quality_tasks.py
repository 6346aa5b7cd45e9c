"""Multiple choice for quality.py: local .jsonl files, a dense model and plans on it, all through one compiled probe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scap_ov.calibration.probe_model import ProbeModel, Settings
from scap_ov.evaluation.tasks import run_task
from scap_ov.models.dataset import model_inputs
from scap_ov.models.jsonl import read_jsonl
from scap_ov.plan import SparsityPlan


class PlannedModel:
    """What `run_task` asks of a runner, from a probe at one setting; every row but the first is pruned."""

    def __init__(self, probe: ProbeModel, settings: Settings) -> None:
        self._probe, self._settings = probe, settings

    def whole(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities [T, V] of a window, valid until the next; nothing besides."""
        self._probe.run(model_inputs(self._probe.stock, ids[None]), self._settings)
        return self._probe.log_probabilities(), np.zeros((0, len(ids)), np.float32)


def answer(probe: ProbeModel, plan: SparsityPlan | None, encode: Callable[[str], Sequence[int]], file: Path, limit: int) -> dict[str, Any]:
    """Score a plan, or the dense model, on the questions of a file.

    :param limit: most questions, spread over the file.
    """
    questions = read_jsonl(file)
    chosen = [questions[i] for i in range(0, len(questions), max(len(questions) // limit, 1))][:limit]
    runner: Any = PlannedModel(probe, probe.settings(plan.entries.values() if plan else ()))
    return asdict(run_task(runner, encode, chosen))
