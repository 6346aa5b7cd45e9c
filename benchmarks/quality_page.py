"""Write docs/quality.md and its plot from the measurements of quality.py. Nothing is typed in: what was not measured is not told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quality_decision import decision
from quality_plot import plot
from quality_sections import BASE, at_sparsity, label_of, minilm, table, tasks

Kept = Mapping[str, Any]
_NAMES = {"f16": "f16", "i8": "int8", "i4": "int4"}
_OURS = "adaptive"


def write_page(kept: Kept, output: Path, name: str) -> None:
    """Write a page and its plot into a folder.

    :param kept: the JSON of quality.py.
    :param name: of both files, such as `quality`.
    """
    output.mkdir(parents=True, exist_ok=True)
    sections = (_head, _methods, _quantised, _equal, _ffn, _weights, tasks, _hold, minilm, _cost)
    first, *others = (section(kept) for section in sections)
    parts = [first, f"![KL over sparsity and over bytes]({name}.png)", decision(kept, _NAMES), *others, _NOTES]
    (output / f"{name}.md").write_text("\n\n".join(part.strip() for part in parts if part) + "\n", encoding="utf-8")
    plot({form: points(kept, form) for form in _NAMES}, rivals(kept), output / f"{name}.png")


def points(kept: Kept, form: str) -> dict[tuple[str, float], dict[str, Any]]:
    """Measured points of a weight form, by (method, asked sparsity); the dense model is ("dense", 0)."""
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for key, value in kept.items():
        name, _, rest = key.partition(" ")
        method, _, target = rest.partition(" ")
        if method.endswith("+compensation") and not kept.get(f"{form} compensation {target}", {}).get("kept"):
            continue  # the plan without it
        if name == form and isinstance(value, dict) and "kl" in value and method != "sequential":
            found[method, float(target or 0)] = value
    return found


def rivals(kept: Kept) -> dict[str, dict[str, Any]]:
    """The models that were quantised harder, by the key of their point."""
    return {key: value for key, value in kept.items() if key.startswith("rival ")}


def _head(kept: Kept) -> str:
    about = kept["about"]
    tokens = {name: kept[f"{form} calibration"]["tokens"] for form, name in _NAMES.items() if f"{form} calibration" in kept}
    fitted = ", ".join(f"{name} on {count:,} tokens" for name, count in tokens.items())
    return f"""# Quality: what reading less costs

Written by `make quality` from measurements (`benchmarks/quality.py`). {about["model"]}, every block layer
a site, every row but the first of a window pruned. Models: {about["source"]}.
Text: {about["text"]}; calibrated on its first half ({fitted}),
measured on {about["tokens"]} tokens of its second half, {about["tokens"] // 512} windows: KL differences of a few percent are within noise.
KL is the mean divergence of the next-token distribution from that of the dense f16 model, in nats. A model this small is far
more brittle than one of 1B and more: read the ratios."""


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
            rows.append([label_of(method), asked, f"{p['sparsity']:.1%}", f"{max(p['kl'], 0):.3f}", f"{p['perplexity']:.1f}",
                         f"{p['top1']:.1%}", f"{p['bytes'] / 1e6:.0f}"])  # fmt: skip
    return table(["method", "asked", "measured", "KL", "perplexity", "top-1 agreement", "MB per token"], rows)


def _equal(kept: Kept) -> str:
    """Ours against the uniform presets at equal measured sparsity."""
    rows = []
    for form, name in _NAMES.items():
        found = points(kept, form)
        floor = found.get(("dense", 0.0), {}).get("kl", 0.0)  # of the weights alone: the increment is compared
        base = [(p["sparsity"], p["kl"] - floor) for (m, _), p in found.items() if m == BASE]
        for (method, _), p in sorted(found.items()):
            if not method.startswith(("graded", _OURS)) or method.endswith("ffn"):
                continue
            other = at_sparsity(base, p["sparsity"])
            if other:
                own = p["kl"] - floor
                rows.append([name, label_of(method), f"{p['sparsity']:.1%}", f"{own:.3f}", f"{other:.3f}", f"**{own / other:.2f}**"])
    if not rows:
        return ""
    header = ["weights", "method", "measured sparsity", "KL added", "uniform `scap` there", "ratio"]
    return f"""## At equal measured sparsity

`scap` here is the uniform threshold around zero (also TEAL's uniform preset), moved to the same measured sparsity along its own curve.
For int8 and int4 the KL of the dense quantised model is taken off on both sides, and all plans are fitted on the quantised graph.

{table(header, rows)}"""


def _ffn(kept: Kept) -> str:
    found = {m: p for (m, _), p in points(kept, "f16").items() if m.endswith("+ffn")}
    cats = found.get("cats+ffn")
    if not cats:
        return ""
    rows = [[m.removesuffix("+ffn"), f"{p['sparsity']:.1%}", f"{p['kl']:.3f}", f"{p['kl'] / cats['kl']:.2f}"]
            for m, p in sorted(found.items(), key=lambda item: item[1]["kl"])]  # fmt: skip
    return f"""## FFN only, at CATS' bytes

A third of the FFN's weights is not read; attention stays dense. CATS masks `up` and `down` by |act(gate)|, and reads the gate whole.

{table(["method", "measured (of all block weights)", "KL", "of CATS'"], rows)}"""


def _weights(kept: Kept) -> str:
    """Reading less against quantising harder."""
    rows, everything, wins, losses = [], [], [], []
    for form, name in _NAMES.items():
        for (method, target), p in points(kept, form).items():
            if method in ("dense", "graded", _OURS, "graded+compensation", "graded+lm_head"):
                everything.append((p["bytes"], p["kl"], f"{name} {'dense' if method == 'dense' else f'{label_of(method)} {target:.0%}'}"))
    everything += [(p["bytes"], p["kl"], f"{key.removeprefix('rival ')} dense (NNCF)") for key, p in rivals(kept).items()]
    for size, kl, label in sorted(everything):
        beaten = [other for s, k, other in everything if s <= size and k < kl]
        if "dense" not in label:
            (losses if beaten else wins).append(label)
        rows.append([label, f"{size / 1e6:.1f}", f"{max(kl, 0):.3f}", "no: " + beaten[0] if beaten else "**yes**"])
    if len(rows) < 3:
        return ""
    text = (
        f"Reading less wins: {', '.join(wins) or 'nowhere'}. Better at no more bytes is something else than: {', '.join(losses) or 'none'}."
    )
    told = [text, _additive(kept)]
    refused = [f"`{name}`: {why}" for name, why in kept.get("refused", {}).items()]
    told += [f"NNCF was asked for these as well and could not; its last words: {'; '.join(refused)}."] * bool(refused)
    text = "\n\n".join(filter(None, told))
    return f"""## Read less, or quantise harder?

Expected bytes of weights that a decoded token reads, the output projection among them. The last column says whether nothing that was
measured is better at no more bytes.

{table(["model", "MB per token", "KL", "best at its size?"], rows)}

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


def _hold(kept: Kept) -> str:
    """What was asked and what was measured: on the page's own text and on others, calibrated on it or on text that the model wrote."""
    rows, off, own_text = [], [0.0], kept["about"]["text"]
    for key, p in kept.items():
        figures = [f"{p['sparsity']:.1%}", f"{p['kl']:.3f}"] if isinstance(p, dict) and "sparsity" in p else []
        if key.startswith("held "):
            _, form, method, share, source, *name = key.split(" ", 5)
            calibrated, measured = "text that it wrote" if source == "self" else own_text, name[0] if name else own_text
            rows.append([_NAMES[form], label_of(method), calibrated, measured, f"{float(share):.0%}", *figures])
            off += [abs(p["sparsity"] - float(share))] * (method != BASE)
        elif " sequential " in key:
            form, _, share = key.split(" ")
            rows.append([_NAMES[form], "adaptive, `calibrate --sequential`", own_text, own_text, f"{float(share):.0%}", *figures])
    if not rows:
        return ""
    header = ["weights", "plan", "calibrated on", "measured on", "asked", "measured", "KL"]
    text = f"Largest difference between what was asked and what was measured, `scap` aside: {100 * max(off):.1f} points."
    return f"## Do thresholds hold?\n\n{text}\n\n{table(header, sorted(rows))}"


def _cost(kept: Kept) -> str:
    rows = []
    for key, value in kept.items():
        if isinstance(value, dict) and "seconds" in value:
            if key.startswith("rival "):
                what = "quantised by NNCF"
            elif "sensitivity_forwards" in value:
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
    return f"## What it costs\n\nProcessor time on {kept['about']['machine']}.\n\n" + table(["step", "time", "for"], rows)


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
  fitted on, at the sparsity that the plan had, and dropped where it does not help there. Of what graded plans lose it takes little: four
  fifths of it is what the high half of the bits misses, which is as good as noise (ADR 0054). Measured with `--compensate 0.5 --steps 10`.
- Graded reads (ADR 0016) read channels of int8 weights by the high half of their bits before they drop them. Shares are of weight bytes.
  "Output projection too" counts and reads the projection as the layers of the blocks; other rows leave it dense, and their shares count
  the blocks alone.
  Models that are made from a GGUF file here were of 4 bits in groups of 32 once, which the high half finds again in part: of normal weights
  that are rounded to 8 bits it misses 1.3 times as much (ADR 0035).
- Pruning of f16 weights by every method, sentence embeddings and multiple choice are in [quality-pruning.md](quality-pruning.md).
- int4 weights are pruned, not read by grades: planes of two bits cost the kernel more than they save. Who wants to read fewer bytes than
  int4 has exports int8 (or f16, with `--weight-format int8`) and reads that by grades. It costs a file twice as large as an int4 one.
- Rivals are the symmetric integers of NNCF 3.4, of 4, 3 and 2 bits, by AWQ and scale estimation, and 4 bits by GPTQ. GPTQ fails on the
  graph that openvino-genai reads out of a GGUF file and works on an export by optimum-cli (ADR 0049).
  Another model, Gemma 3 270M, is in ADR 0049 too.
- On other text sparsity drifts: measure yours with `scap-ov eval`."""
