"""Tasks from local .jsonl files: multiple choice (`query`, `choices`, `gold`) and cloze (`context`, `continuation`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scap_ov.errors import BadDatasetError
from scap_ov.json_values import JsonMapping
from scap_ov.models.agreement import log_softmax
from scap_ov.models.window_runner import WindowRunner
from scap_ov.progress import Progress


@dataclass(frozen=True)
class TaskResult:
    """Score of one file of questions.

    :param kind: `multiple_choice` or `cloze`.
    :param accuracy: share answered right: the likeliest choice by summed log-probability; a continuation that greedy decoding would write.
    :param accuracy_per_character: multiple choice, log-probabilities divided by the choice's length in characters.
    :param log_likelihood: mean log-probability of the right answer's tokens, in nats per question.
    """

    kind: str
    questions: int
    accuracy: float
    accuracy_standard_error: float
    log_likelihood: float
    accuracy_per_character: float | None = None


def run_task(
    runner: WindowRunner,
    encode: Callable[[str], Sequence[int]],
    questions: Sequence[JsonMapping],
    *,
    progress: Progress | None = None,
) -> TaskResult:
    """Score a model on questions of one kind.

    :param runner: of the model, every row but the first pruned.
    :param encode: text -> token ids; its `prefix`, if any, opens every sequence.
    :raises BadDatasetError: a question lacks a key, or its gold is no index of its choices.
    """
    choice = "choices" in questions[0]
    right, right_per_character, likelihood = [], [], []
    for number, question in enumerate(questions):
        context, answers, gold = _parts(question, number, choice=choice)
        scored = [_continuation(runner, encode, context, answer) for answer in answers]
        sums = np.array([s for s, _ in scored])
        likelihood.append(sums[gold])
        if choice:
            right.append(int(sums.argmax() == gold))
            right_per_character.append(int((sums / [max(len(a), 1) for a in answers]).argmax() == gold))
        else:
            right.append(int(scored[0][1]))
        if progress:
            progress(number + 1, len(questions))
    accuracy = float(np.mean(right))
    return TaskResult(
        "multiple_choice" if choice else "cloze",
        len(right),
        accuracy,
        float(np.sqrt(accuracy * (1 - accuracy) / len(right))),
        float(np.mean(likelihood)),
        float(np.mean(right_per_character)) if choice else None,
    )


def _parts(question: JsonMapping, number: int, *, choice: bool) -> tuple[str, list[str], int]:
    wanted = ("query", "choices", "gold") if choice else ("context", "continuation")
    missing = [key for key in wanted if key not in question]
    if missing:
        msg = f"question {number} lacks {', '.join(missing)}; give query, choices and gold, or context and continuation"
        raise BadDatasetError(msg)
    if not choice:
        return _string(question, "context", number), [_string(question, "continuation", number)], 0
    choices, gold = question["choices"], question["gold"]
    if not isinstance(choices, list) or not choices:
        msg = f"question {number} has choices {choices!r}; give a list of strings"
        raise BadDatasetError(msg)
    answers = [_string(dict(enumerate(choices)), i, number) for i in range(len(choices))]
    if isinstance(gold, bool) or not isinstance(gold, int) or not 0 <= gold < len(answers):
        msg = f"question {number} has gold {gold!r} and {len(answers)} choices; gold counts from 0"
        raise BadDatasetError(msg)
    query = _string(question, "query", number).rstrip()
    return query + "\nAnswer:", [" " + a.strip() for a in answers], gold


def _string(values: Mapping[str, object] | Mapping[int, object], key: Any, number: int) -> str:
    """A value that is a text or a number; null is not read as the word None."""
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        what = f"choice {key}" if isinstance(key, int) else key
        msg = f"question {number}: its {what} is {value!r}; give a string"
        raise BadDatasetError(msg)
    return str(value)


def _continuation(runner: WindowRunner, encode: Callable[[str], Sequence[int]], context: str, answer: str) -> tuple[float, bool]:
    """Log-probability of `answer` behind `context`, and whether each of its tokens is the likeliest."""
    head = list(getattr(encode, "prefix", ())) + list(encode(context))
    ids = list(getattr(encode, "prefix", ())) + list(encode(context + answer))
    shared = 0
    while shared < min(len(head), len(ids) - 1) and head[shared] == ids[shared]:
        shared += 1
    shared = max(shared, 1)
    logits, _ = runner.whole(np.array(ids, np.int64))
    logs = log_softmax(logits[shared - 1 : -1])
    targets = np.array(ids[shared:])
    return float(logs[np.arange(len(targets)), targets].sum()), bool((logs.argmax(-1) == targets).all())
