"""Write docs/quality.md and its plot from the measurements of quality.py. Nothing is typed in: what was not measured is not told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from quality_decision import decision
from quality_plot import plot

Kept = Mapping[str, Any]
_NAMES = {"f16": "f16", "i8": "int8", "i4": "int4"}
_BASE = "scap"
_OURS = "adaptive"


def write_page(kept: Kept, output: Path) -> None:
    """Write quality.md and quality.png into a folder.

    :param kept: the JSON of quality.py.
    """
    output.mkdir(parents=True, exist_ok=True)
    sections = (_head, _methods, _quantised, _equal, _ffn, _weights, _tasks, _hold, _minilm, _cost)
    first, *others = (section(kept) for section in sections)
    parts = [first, decision(kept, _NAMES), *others, _NOTES]
    (output / "quality.md").write_text("\n\n".join(part.strip() for part in parts if part) + "\n", encoding="utf-8")
    plot({form: points(kept, form) for form in _NAMES}, output / "quality.png")


def points(kept: Kept, form: str) -> dict[tuple[str, float], dict[str, Any]]:
    """Measured points of a weight form, by (method, asked sparsity); the dense model is ("dense", 0)."""
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for key, value in kept.items():
        name, _, rest = key.partition(" ")
        method, _, target = rest.partition(" ")
        if method == "adaptive+compensation" and not kept.get(f"{form} compensation {target}", {}).get("kept"):
            continue  # the plan without it
        if name == form and isinstance(value, dict) and "kl" in value and method not in ("self", "sequential") and " " not in target:
            found[method, float(target or 0)] = value
    return found


def at_sparsity(curve: list[tuple[float, float]], sparsity: float) -> float | None:
    """KL of a method at another sparsity: the logarithm, linear between its measured points and beyond the nearest two.

    :param curve: (measured sparsity, KL).
    :return: None with fewer than two points, or further than three points of sparsity from any.
    """
    if len(curve) < 2 or min(abs(s - sparsity) for s, _ in curve) > 0.03:
        return None
    near = sorted(curve, key=lambda p: abs(p[0] - sparsity))[:2]
    (s0, k0), (s1, k1) = sorted(near)
    return float(np.exp(np.log(k0) + (np.log(k1) - np.log(k0)) * (sparsity - s0) / (s1 - s0)))


def _head(kept: Kept) -> str:
    about = kept["about"]
    tokens = {name: kept[f"{form} calibration"]["tokens"] for form, name in _NAMES.items() if f"{form} calibration" in kept}
    fitted = ", ".join(f"{name} on {count:,} tokens" for name, count in tokens.items())
    return f"""# Quality: what reading less costs

Written by `make quality` from measurements (`benchmarks/quality.py`). SmolLM2-135M-Instruct, every block layer
a site, every row but the first of a window pruned. Models: {about["source"]}.
Text: {about["text"]}; calibrated on its first half ({fitted}),
measured on {about["tokens"]} tokens of its second half, {about["tokens"] // 512} windows: KL differences of a few percent are within noise.
KL is the mean divergence of the next-token distribution from that of the dense f16 model, in nats. A model of 135M parameters is far
more brittle than one of 1B and more: read the ratios.

![KL over sparsity and over bytes](quality.png)"""


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join([_row(header), _row(["---"] * len(header)), *map(_row, rows)])


def _methods(kept: Kept) -> str:
    found = points(kept, "f16")
    return f"## Methods, f16 weights\n\n{_of_methods(found)}\n\n{_LEGEND}" if ("dense", 0.0) in found else ""


def _quantised(kept: Kept) -> str:
    """The same for int8 and int4."""
    found = {_NAMES[form]: points(kept, form) for form in ("i8", "i4")}
    parts = [f"### {name} weights\n\n{_of_methods(own)}" for name, own in found.items() if ("dense", 0.0) in own]
    head = "## Methods, quantised weights\n\nKL to the dense f16 model, what quantisation costs included."
    return "\n\n".join([head, *parts]) if parts else ""


def _of_methods(found: Mapping[tuple[str, float], dict[str, Any]]) -> str:
    rows = []
    for (method, target), p in sorted(found.items(), key=lambda item: (item[0][1], item[1]["kl"])):
        if not method.endswith("ffn"):
            asked = "" if method == "dense" else f"{target:.0%}"
            rows.append([_label(method), asked, f"{p['sparsity']:.1%}", f"{max(p['kl'], 0):.3f}", f"{p['perplexity']:.1f}",
                         f"{p['top1']:.1%}", f"{p['bytes'] / 1e6:.0f}"])  # fmt: skip
    return _table(["method", "asked", "measured", "KL", "perplexity", "same first token", "MB per token"], rows)


def _label(method: str) -> str:
    return {"adaptive+compensation": "adaptive, compensation learned", "graded": "graded (default)"}.get(method, method)


def _equal(kept: Kept) -> str:
    """Ours against the uniform presets at equal measured sparsity."""
    rows = []
    for form, name in _NAMES.items():
        found = points(kept, form)
        floor = found.get(("dense", 0.0), {}).get("kl", 0.0)  # of the weights alone: the increment is compared
        base = [(p["sparsity"], p["kl"] - floor) for (m, _), p in found.items() if m == _BASE]
        for (method, _), p in sorted(found.items()):
            if not method.startswith(("graded", _OURS)) or method.endswith("ffn"):
                continue
            other = at_sparsity(base, p["sparsity"])
            if other:
                own = p["kl"] - floor
                rows.append([name, _label(method), f"{p['sparsity']:.1%}", f"{own:.3f}", f"{other:.3f}", f"**{own / other:.2f}**"])
    if not rows:
        return ""
    header = ["weights", "method", "measured sparsity", "KL added", "uniform `scap` there", "ratio"]
    return f"""## At equal measured sparsity

`scap` here is the uniform threshold around zero (also TEAL's uniform preset), moved to the same measured sparsity along its own curve.
For int8 and int4 the KL of the dense quantised model is taken off on both sides, and all plans are fitted on the quantised graph.

{_table(header, rows)}"""


def _ffn(kept: Kept) -> str:
    found = {m: p for (m, _), p in points(kept, "f16").items() if m.endswith("+ffn")}
    cats = found.get("cats+ffn")
    if not cats:
        return ""
    rows = [[m.removesuffix("+ffn"), f"{p['sparsity']:.1%}", f"{p['kl']:.3f}", f"{p['kl'] / cats['kl']:.2f}"]
            for m, p in sorted(found.items(), key=lambda item: item[1]["kl"])]  # fmt: skip
    return f"""## FFN only, at CATS' bytes

A third of the FFN's weights is not read; attention stays dense. CATS masks `up` and `down` by |act(gate)|, and reads the gate whole.

{_table(["method", "measured (of all block weights)", "KL", "of CATS'"], rows)}"""


def _weights(kept: Kept) -> str:
    """Pruning against quantising harder."""
    rows, everything, wins, losses = [], [], [], []
    for form, name in _NAMES.items():
        for (method, target), p in points(kept, form).items():
            if method in ("dense", "graded", _OURS, "adaptive+compensation"):
                everything.append((p["bytes"], p["kl"], f"{name} {'dense' if method == 'dense' else f'{_label(method)} {target:.0%}'}"))
    for size, kl, label in sorted(everything):
        beaten = [other for s, k, other in everything if s <= size and k < kl]
        if "dense" not in label:
            (losses if beaten else wins).append(label)
        rows.append([label, f"{size / 1e6:.1f}", f"{max(kl, 0):.3f}", "no: " + beaten[0] if beaten else "**yes**"])
    if len(rows) < 3:
        return ""
    text = (
        f"Pruning wins: {', '.join(wins) or 'nowhere'}. Quantising harder instead is better than: {', '.join(losses) or 'none of these'}."
    )
    text += "\n\n" + _additive(kept)
    return f"""## Prune, or quantise harder?

Expected bytes of weights that a decoded token reads, the output projection among them. The last column says whether nothing that was
measured is better at no more bytes.

{_table(["model", "MB per token", "KL", "worth it?"], rows)}

{text}"""


def _additive(kept: Kept) -> str:
    lines = []
    floats = [(p["sparsity"], p["kl"]) for (m, _), p in points(kept, "f16").items() if m == _OURS]
    for form in ("i8", "i4"):
        found = points(kept, form)
        dense = found.get(("dense", 0.0))
        for (method, _), p in sorted(found.items()):
            alone = at_sparsity(floats, p["sparsity"]) if method == _OURS else None
            if dense and alone:
                share = p["kl"] / (dense["kl"] + alone)
                parts = f"quantisation alone ({dense['kl']:.3f}) and pruning alone ({alone:.3f})"
                lines.append(f"{_NAMES[form]} at {p['sparsity']:.1%}: KL {p['kl']:.3f}, {share:.2f} times the sum of {parts}.")
    return "Do the losses add up? " + " ".join(lines) if lines else ""


def _tasks(kept: Kept) -> str:
    """Multiple choice."""
    found = {tuple(key.split()[1:]): value for key, value in kept.items() if key.startswith("task ")}
    if not found:
        return ""
    files = list(dict.fromkeys(file for file, _, _ in found))
    rows = []
    for method, target in dict.fromkeys((m, t) for _, m, t in found):
        cells = []
        for file in files:
            r = found.get((file, method, target))
            cells += [f"{r['accuracy']:.1%} ± {r['accuracy_standard_error']:.1%}", f"{r['log_likelihood']:.2f}"] if r else ["", ""]
        rows.append([_label(method), "" if method == "dense" else f"{float(target):.0%}", *cells])
    header = ["method", "asked", *(text for file in files for text in (f"{file}, accuracy", "nats of the right answer"))]
    counts = ", ".join(f"{next(r['questions'] for (f, _, _), r in found.items() if f == file)} of {file}" for file in files)
    return f"""## Multiple choice, f16 weights

The likeliest choice by summed log-probability; questions: {counts}. ± is one standard error of the accuracy: on so few questions only large
differences show, and the mean log-probability of the right answer tells more.

{_table(header, rows)}"""


def _hold(kept: Kept) -> str:
    rows = []
    for key, p in kept.items():
        form, _, rest = key.partition(" ")
        if form not in _NAMES or not isinstance(p, dict) or "sparsity" not in p or "dense" in rest or "ffn" in rest:
            continue
        method, _, target = rest.partition(" ")
        if method == "sequential":
            rows.append([form, "adaptive, `calibrate --sequential`", target, f"{p['sparsity']:.1%}", f"{p['kl']:.3f}"])
        elif method == "self":
            rows.append([form, "adaptive, calibrated on text that the model wrote", target, f"{p['sparsity']:.1%}", f"{p['kl']:.3f}"])
        elif target.endswith("other"):
            rows.append(
                [
                    form,
                    f"{_label(method)}, on {kept['about'].get('other', 'other text')}",
                    target.split()[0],
                    f"{p['sparsity']:.1%}",
                    f"{p['kl']:.3f}",
                ]
            )
        elif method == _OURS:
            rows.append([form, _label(method), target, f"{p['sparsity']:.1%}", f"{p['kl']:.3f}"])
    return "## Do thresholds hold?\n\n" + _table(["weights", "plan", "asked", "measured", "KL"], rows) if rows else ""


def _minilm(kept: Kept) -> str:
    """Methods on an encoder."""
    if "minilm" not in kept:
        return ""
    base = [(row["measured"], row["loss"]) for row in kept["minilm"] if row["method"] == _BASE]
    rows = []
    for row in sorted(kept["minilm"], key=lambda r: (r["target"], r["loss"])):
        other = at_sparsity(base, row["measured"])
        rows.append([row["method"], f"{row['target']:.0%}", f"{row['measured']:.1%}", f"{row['loss']:.4f}",
                     f"{row['loss'] / other:.2f}" if other else ""])  # fmt: skip
    return f"""## An encoder: sentence embeddings of all-MiniLM-L6-v2

Mean of 1 − cosine between sparse and dense embedding, {kept["minilm"][0]["sentences"]} sentences of Python's documentation.

{_table(["method", "asked", "measured", "1 − cosine", "of uniform `scap` there"], rows)}"""


def _cost(kept: Kept) -> str:
    rows = []
    for key, value in kept.items():
        if isinstance(value, dict) and "seconds" in value:
            if "sensitivity_forwards" in value:
                what = (f"{value['tokens']} tokens observed, sensitivity on {value['sensitivity_tokens']} tokens "
                        f"({value['sensitivity_forwards']} passes over windows), profile {value['file_bytes'] / 1e6:.0f} MB")  # fmt: skip
            else:
                what = (f"{value['steps']} steps, {value['share']:g} of their way; KL on held-out samples "
                        f"{value['held_out_loss_before']:.3f} -> {value['held_out_loss_after']:.3f}, at "
                        f"{value['held_out_sparsity_after']:.1%} "
                        f"of {value['held_out_sparsity_before']:.1%} dropped; {'kept' if value['kept'] else 'not kept'}")  # fmt: skip
            rows.append([key, f"{value['seconds']:.0f} s", what])
    if not rows:
        return ""
    return f"## What it costs\n\nOn {kept['about']['machine']}, with other work on it.\n\n" + _table(["step", "time", "for"], rows)


_LEGEND = """`adaptive`: a centre for each channel, thresholds and sparsities by the sensitivity of the output. `scap`: uniform, centre
zero. `teal`: greedy within each block. `wina`: magnitude times the norm of the weight column. `topk` is the uniform threshold that keeps
k on average. Thresholds of every method but `cats` are scaled by the drift that calibration measured, so that the sparsity that is asked
for is the one that is measured."""

_NOTES = """## Reading it

- Most of the gain over uniform thresholds is *where* weights are dropped. Sensitivities come from one backward pass that is built from
  OpenVINO operations and runs in the plugin, quantised weights and all (ADR 0006); models whose operations have no gradient rule are
  pruned site by site instead, one forward pass each.
- Thresholds fitted on dense activations drop too much behind pruned layers. `scap-ov calibrate` measures by how much (three short
  passes), and `fit` needs nothing but the profile.
- Learned compensation adds a constant to pruned rows and moves thresholds with it (ADR 0008). It is checked on samples that it was not
  fitted on, at the sparsity that the plan had, and dropped where it does not help there.
- Graded reads (ADR 0016) read channels of int8 weights by the high half of their bits before they drop them. Shares are of weight bytes.
- On other text sparsity drifts: measure yours with `scap-ov eval`."""
