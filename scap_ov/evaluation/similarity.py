"""How alike two models write: greedy continuations of the same prompts, compared token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from scap_ov.models.window_runner import WindowRunner


@dataclass(frozen=True)
class SimilarityResult:
    """Means over prompts.

    :param identical: share of prompts with the same continuation.
    :param common_prefix: tokens until the first difference.
    :param similarity: 2·matches / total of the longest matching blocks of tokens, in [0, 1].
    """

    prompts: int
    new_tokens: int
    identical: float
    common_prefix: float
    similarity: float


def greedy(runner: WindowRunner, ids: np.ndarray, new_tokens: int) -> list[int]:
    """Greedy continuation.

    :param ids: the prompt, int64 [T].
    :return: `new_tokens` token ids; an end token does not stop it, so that all continuations are equally long.
    """
    state = runner.start(ids)
    written = [int(state.argmax())]
    while len(written) < new_tokens:
        state = runner.step(written[-1])
        written.append(int(state.argmax()))
    return written


def compare_generation(
    model: WindowRunner, reference: WindowRunner, prompts: Sequence[np.ndarray], new_tokens: int = 64
) -> SimilarityResult:
    """Greedy continuations of both models for the same prompts."""
    identical, prefix, alike = [], [], []
    for ids in prompts:
        a, b = greedy(model, ids, new_tokens), greedy(reference, ids, new_tokens)
        differing = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        identical.append(not differing)
        prefix.append(differing[0] if differing else new_tokens)
        alike.append(SequenceMatcher(None, a, b, autojunk=False).ratio())
    return SimilarityResult(len(prompts), new_tokens, float(np.mean(identical)), float(np.mean(prefix)), float(np.mean(alike)))
