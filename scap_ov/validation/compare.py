"""How far the outputs of two models are apart: differences, divergence, agreement, cosine. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from scap_ov.models.agreement import divergence, log_softmax

LOGITS = "logits"


@dataclass
class OutputDifference:
    """Of one output, over all that was run.

    :param name: of the output.
    :param tolerance: a row whose largest difference is above it counts as off.
    """

    name: str
    tolerance: float
    max_difference: float = 0.0
    rows: int = 0
    rows_above_tolerance: int = 0
    _total: float = 0.0
    _count: int = 0
    _kl: float = 0.0
    _agree: int = 0
    _cosines: list[np.ndarray] = field(default_factory=list)

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Take in one run's values, of any shape; the last axis is a row.

        :raises ValueError: the shapes differ.
        """
        if a.shape != b.shape:
            msg = f"output {self.name} has shape {list(a.shape)} in one model and {list(b.shape)} in the other"
            raise ValueError(msg)
        x, y = (v.astype(np.float64).reshape(-1, v.shape[-1] if v.ndim else 1) for v in (a, b))
        if not x.size:
            return
        with np.errstate(invalid="ignore"):
            apart = np.where(x == y, 0.0, np.abs(x - y))  # equal infinities are no difference
        apart[np.isnan(apart)] = np.inf
        self.max_difference = max(self.max_difference, float(apart.max()))
        self.rows += len(x)
        self.rows_above_tolerance += int((apart.max(axis=1) > self.tolerance).sum())
        self._total += float(apart.sum())
        self._count += apart.size
        if self.name == LOGITS:
            p, q = log_softmax(x), log_softmax(y)
            self._kl += divergence(p, q)
            self._agree += int((x.argmax(1) == y.argmax(1)).sum())
        elif np.issubdtype(a.dtype, np.floating):
            norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
            self._cosines.append(np.einsum("rk,rk->r", x, y) / np.where(norms > 0, norms, 1))

    def result(self) -> dict[str, float | int | str | None]:
        """Plain values: KL of logits in nats per row, cosine of anything else."""
        cosines = np.concatenate(self._cosines) if self._cosines else None
        logits = self.name == LOGITS and self.rows > 0
        return {
            "name": self.name,
            "max_difference": self.max_difference,
            "mean_difference": self._total / self._count if self._count else 0.0,
            "rows": self.rows,
            "rows_above_tolerance": self.rows_above_tolerance,
            "kl_divergence": self._kl / self.rows if logits else None,
            "top1_agreement": self._agree / self.rows if logits else None,
            "cosine_mean": None if cosines is None else float(cosines.mean()),
            "cosine_min": None if cosines is None else float(cosines.min()),
        }
