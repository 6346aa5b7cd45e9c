"""Windows of a text, and what a plan loses on them. For quality.py."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scap_ov.calibration.probe_model import ProbeModel, Reference
from scap_ov.calibration.samples import CalibrationWindow, pick_windows
from scap_ov.evaluation.bytes_read import weight_bytes_per_token
from scap_ov.models.dataset import text_dataset
from scap_ov.plan import SparsityPlan

WINDOW = 512
ALL = 1 << 40


class Evaluation:
    """Windows of a text and what the dense f16 model gives for them."""

    def __init__(self, probe: ProbeModel, text: str, folder: Path, tokens: int, scratch: Path) -> None:
        """Compute the references, which are kept in files: a window of 512 tokens takes half a gigabyte with 262,000 words."""
        self.pieces = pick_windows(probe, text_dataset(text, folder, probe.stock, seq_len=WINDOW, max_tokens=tokens), ALL)
        self.references = [_in_file(probe.reference_of(p.inputs), scratch) for p in self.pieces]

    def measure(self, probe: ProbeModel, plan: SparsityPlan | None) -> dict[str, Any]:
        """One point: a plan on a model, or the model itself."""
        settings = probe.settings(plan.entries.values() if plan else ())
        rows = [self._window(probe, settings, piece, reference) for piece, reference in zip(self.pieces, self.references, strict=True)]
        shares = np.mean([row["shares"] for row in rows], axis=0)
        halves = np.mean([row["halves"] for row in rows], axis=0)
        counted = {s.name for s in probe.sites if s.kind.value != "lm_head" or (plan and s.name in plan.entries)}
        weights = np.array([s.weight_bytes * (s.name in counted) for s in probe.sites], np.float64)
        total = max(weights.sum(), 1.0)  # nothing counts where a model has weights that no site is made of, such as int3
        graded = {name for name, entry in plan.entries.items() if entry.whole_threshold is not None} if plan else set()
        per_site = {site.name: float(share) for site, share in zip(probe.sites, shares, strict=True)}
        kinds = {s.kind.value for s in probe.sites} - {"lm_head"}
        return {
            "kl": float(np.mean([row["kl"] for row in rows])),
            "kl_by_window": [row["kl"] for row in rows],
            "perplexity": float(np.exp(np.mean([row["nll"] for row in rows]))),
            "top1": float(np.mean([row["top1"] for row in rows])),
            "sparsity": float(weights @ shares / total),
            "by_kind": {k: float(np.mean([per_site[s.name] for s in probe.sites if s.kind.value == k])) for k in sorted(kinds)},
            "half": float(weights @ halves / total),
            "bytes": weight_bytes_per_token(probe.sites, per_site, graded),
        }

    def _window(self, probe: ProbeModel, settings: Any, piece: CalibrationWindow, reference: Reference) -> dict[str, Any]:
        kl = probe.loss(piece.inputs, settings, piece.pruned, reference)
        logs = probe.log_probabilities()
        labels = np.asarray(piece.inputs["input_ids"]).reshape(-1)[1:]
        agree = logs[:-1].argmax(1) == reference.values[:-1].argmax(1)
        return {"kl": kl, "nll": -float(logs[np.arange(len(labels)), labels].mean()), "top1": float(agree[1:].mean()),
                "shares": probe.shares(piece.pruned).mean(1), "halves": probe.half_shares(piece.pruned).mean(1)}  # fmt: skip


def _in_file(reference: Reference, folder: Path) -> Reference:
    """The same, its values in a file without a name, which is gone with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        kept = np.memmap(file, np.float32, "w+", shape=reference.values.shape)
    kept[:] = reference.values
    return replace(reference, values=kept)


def everything_documented() -> str:
    """All topics that `help()` of Python knows: what every machine has, some 100,000 tokens."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))
