"""Compare two models' logits for the same tokens: loss, divergence, agreement. Pure numpy; memory bounded by a slice of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scap_ov.models.last_product import Rows

_SLICE = 64  # rows at a time: 64 x 49,152 float32 is 12 MB an array


@dataclass(frozen=True)
class WindowScore:
    """Sums over the scored positions of one window.

    :param nll: negative log likelihood of the next token under the model, in nats.
    :param kl: KL(reference ‖ model).
    :param agree: positions where both rank the same token first.
    """

    count: int
    nll: float
    reference_nll: float
    kl: float
    agree: int


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """:param logits: float [T, V]. :return: log-probabilities, float32 [T, V]."""
    shifted = logits.astype(np.float32) - logits.max(axis=-1, keepdims=True).astype(np.float32)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)).astype(np.float32)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p ‖ q) in nats, summed over rows; what p rules out, a log-probability of -inf, adds nothing whatever q says.

    :param p: log-probabilities of the reference, float [T, V]. :param q: of the model.
    """
    with np.errstate(invalid="ignore"):
        terms = np.exp(p) * (p - q)
    terms[np.isneginf(p)] = 0
    return float(terms.sum(dtype=np.float64))


def score(logits: Rows, reference: Rows, targets: np.ndarray) -> WindowScore:
    """Score positions whose next token is known, the first T.

    :param logits: of the model, float [T or more, V]; rows are asked for a slice at a time.
    :param reference: of the reference, likewise.
    :param targets: the tokens that follow, int64 [T].
    """
    nll = reference_nll = kl = 0.0
    agree = 0
    for start in range(0, len(targets), _SLICE):
        part = slice(start, min(start + _SLICE, len(targets)))
        p, q = log_softmax(reference[part]), log_softmax(logits[part])
        rows = np.arange(len(p))
        nll -= float(q[rows, targets[part]].sum(dtype=np.float64))
        reference_nll -= float(p[rows, targets[part]].sum(dtype=np.float64))
        kl += divergence(p, q)
        agree += int((p.argmax(-1) == q.argmax(-1)).sum())
    return WindowScore(len(targets), nll, reference_nll, kl, agree)


def standard_error(sums: np.ndarray, counts: np.ndarray) -> float | None:
    """Standard error of `sums.sum() / counts.sum()` over windows (ratio estimator); None with fewer than two.

    :param sums: float64 [windows]. :param counts: [windows].
    """
    n = len(sums)
    if n < 2:
        return None
    residual = sums - counts * (sums.sum() / counts.sum())
    return float(np.sqrt((residual**2).sum() * n / (n - 1)) / counts.sum())
