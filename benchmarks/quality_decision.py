"""The one table of docs/quality.md that a user decides by: bytes read, what is lost, what a deployed model answers. For quality_page.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quality_deployed import DECODED, PEOPLE, PROMPT, QUESTIONS, SPEED_ROUNDS, SPEED_TOKENS

Kept = Mapping[str, Any]
_HEADER = ["model", "MB per token", "decode speed", "KL", "perplexity", "top-1 agreement", "KL as deployed", "questions right"]

_METHODS = ("dense", "graded", "graded+lm_head", "adaptive", "scap")
_TOLD = {  # by column
    2: f"""Decode speed is a multiple of stock int8's, alternating with it in one process (batch of one, f32 hint for both, {SPEED_ROUNDS}
turns of {SPEED_TOKENS} tokens).""",
    3: "KL is to the dense f16 model.",
    6: f"As deployed: a prompt of {PROMPT} tokens is read dense, {DECODED} tokens are decoded behind it.",
    7: f"""Questions: {QUESTIONS} prompts list the ages of {PEOPLE} people twice, in different orders, and end before the last age;
decoded greedily, right or wrong.""",
}
_RIVALS = """Rivals are the block weights quantised harder by NNCF, in groups of 64, dense; embedding and output projection int8."""


def decision(kept: Kept, names: Mapping[str, str]) -> str:
    """Every model that was measured, by the bytes that a decoded token reads.

    :param names: weight forms as they are written.
    """
    rows = []
    for key, value in kept.items():
        form, _, rest = key.partition(" ")
        if form == "rival":
            rows.append((value, f"{rest} (NNCF)", value, kept.get(f"speed {key}")))
        elif form in names and isinstance(value, dict) and "kl" in value and rest.split(" ")[0] in _METHODS:
            method, _, share = rest.partition(" ")
            if share.replace(".", "").isdigit() or method == "dense":
                own = f"deployed {form} {method} {share or 0}"
                head = ", output projection too" if method.endswith("+lm_head") else ""
                read = f"{method.partition('+')[0]}, {1 - float(share or 0):.0%} read{head}"
                label = f"{names[form]}, {'dense' if method == 'dense' else read}"
                rows.append((value, label, kept.get(own, {}), kept.get(f"speed {own}")))
    if not any("graded" in label for _, label, *_ in rows):
        return ""
    cells = [_row(*row) for row in sorted(rows, key=lambda row: row[0]["bytes"])]
    measured = [i for i in range(len(_HEADER)) if any(line[i] for line in cells)]
    lines = ["| " + " | ".join(line[i] for i in measured) + " |" for line in (_HEADER, ["---"] * len(_HEADER), *cells)]
    told = [text for i, text in _TOLD.items() if i in measured]
    told += [_RIVALS] * any("NNCF" in label for _, label, *_ in rows)
    return "## Which model to take\n\n" + "\n".join(told) + "\n\n" + "\n".join(lines)


def _row(point: Mapping[str, Any], label: str, asked: Mapping[str, Any], speed: float | None) -> list[str]:
    deployed, right = asked.get("deployed"), asked.get("exact_matches")
    return [
        label,
        f"{point['bytes'] / 1e6:.0f}",
        "" if speed is None else f"{speed:.2f}×",
        f"{max(point['kl'], 0):.3f}",
        f"{point['perplexity']:.1f}",
        f"{point['top1']:.1%}",
        "" if deployed is None else f"{max(deployed['kl'], 0):.3f}",
        "" if right is None else f"{right:.0%}",
    ]
