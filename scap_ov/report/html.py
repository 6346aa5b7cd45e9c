"""Write the report of a pruned model as one HTML file without scripts and without outside references: for phones, screens and printers."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scap_ov.atomic import new_file
from scap_ov.json_values import JsonMapping, JsonObject
from scap_ov.report import plots
from scap_ov.report.picture import DARK, LIGHT, Picture, css_variables
from scap_ov.report.verdict import verdict

if TYPE_CHECKING:
    from scap_ov.plan import SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile

_MOST_HISTOGRAMS = 24  # the page stays below 2 MB
_STYLE = f"""
:root{{color-scheme:light dark;{css_variables(LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{{css_variables(DARK)}}}}}
*{{box-sizing:border-box}}
body{{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem;
color:var(--ink);background:var(--paper);overflow-wrap:anywhere}}
h1{{font-size:1.5rem;line-height:1.25}}h2{{font-size:1.2rem;margin:2.5rem 0 .5rem}}h3{{font-size:1rem;margin:0}}
.verdict{{font-size:1.15rem}}small,figcaption,.note{{color:var(--muted);font-size:.875rem}}
table{{border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums}}
td,th{{padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--grid);text-align:right;vertical-align:top}}
td,th{{overflow-wrap:normal}}td+td,th+th{{white-space:nowrap}}.text td,.text th{{white-space:normal;overflow-wrap:anywhere}}
td:first-child,th:first-child,.text td,.text th{{text-align:left}}
.grid{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:1rem 2rem}}
figure{{margin:0;min-width:0;max-width:32rem}}svg{{display:block;width:100%;height:auto;stroke-linejoin:round;font-family:system-ui,sans-serif}}
pre{{white-space:pre-wrap;font:inherit;margin:.25rem 0}}
.key span{{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 .8em}}
"""
_KEYS = {"whole": "read whole", "half": "read by half", "dropped": "dropped"}


@dataclass(frozen=True)
class Findings:
    """What a report is made of; what is not there is left out of the page.

    :param title: the heading, plain text.
    :param summary: of the model's record: form, expected_sparsity, sites, skipped, notes.
    :param config: of the same record.
    :param plan: with the thresholds that the histograms show.
    :param profile: what was observed, for the histograms.
    :param evaluation: figures as `scap-ov eval --json` writes them, or an EvaluationResult.
    :param benchmark: figures as `scap-ov bench --json` writes them, or a BenchmarkResult.
    :param points: rows of `scap-ov compare --json`, or operating points with `decode_speedup`.
    :param sections: further (heading, text) pairs, such as answers of the model; plain text.
    """

    title: str
    summary: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)
    plan: SparsityPlan | None = None
    profile: CalibrationProfile | None = None
    evaluation: Any = None
    benchmark: Any = None
    points: Sequence[Mapping[str, Any]] = ()
    sections: Sequence[tuple[str, str]] = ()


def write_report(path: str | Path, findings: Findings, *, pictures: Path | None = None) -> Path:
    """Write the page.

    :param path: the .html file.
    :param findings: what is known of the model.
    :param pictures: a folder that is there, which gets each plot as a PNG too.
    :raises MissingDependencyError: matplotlib is not installed.
    :raises OutputError: a file cannot be written.
    """
    evaluation, benchmark = _figures(findings.evaluation), _figures(findings.benchmark)
    chapters = list(_chapters(findings, evaluation, benchmark))
    body = [f"<h1>{html.escape(findings.title)}</h1>",
            f"<p class='verdict'>{html.escape(verdict(findings.summary, evaluation, benchmark))}</p>",
            _table(("", "stock", "pruned"), list(_overview(evaluation, benchmark)))]  # fmt: skip
    for heading, note, shown in chapters:
        body.append(f"<h2>{html.escape(heading)}</h2>{note}<div class='grid'>{''.join(map(_figure, shown))}</div>")
    body += [_stock(findings.summary), _made(findings)]
    body += [f"<h2>{html.escape(heading)}</h2><pre>{html.escape(text)}</pre>" for heading, text in findings.sections]
    if pictures is not None:
        for _, _, shown in chapters:
            for picture in shown:
                picture.save_png(pictures)
    return write_page(path, findings.title, "".join(body))


def write_page(path: str | Path, title: str, body: str) -> Path:
    """Write a page in our style so that it appears only when it is complete.

    :param title: plain text.
    :param body: HTML.
    :raises OutputError: it cannot be written.
    """
    page = (f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
            f"<meta name='viewport' content='width=device-width,initial-scale=1'>"
            f"<link rel='icon' href='data:,'><title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
            f"<body>{body}</body></html>\n")  # fmt: skip
    with new_file(path) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
    return Path(path)


def figures_of(pictures: Sequence[Picture]) -> str:
    """Pictures side by side where there is room for it, as HTML for `write_page`."""
    return f"<div class='grid'>{''.join(map(_figure, pictures))}</div>"


def _chapters(findings: Findings, evaluation: JsonMapping, benchmark: JsonMapping) -> Iterator[tuple[str, str, list[Picture]]]:
    """Heading, note as HTML, and plots of each chapter that there are figures for."""
    if benchmark:
        yield "Speed and memory", "", [plots.speed(benchmark)]
    curves = [plots.curve(points, key, label, f"{key.replace('_', '-')}-over-sparsity", title)
              for key, label, title in (("decode_speedup", "decode speed / stock", "Speed"), ("kl_divergence", "KL, nats/token", "Loss"),
                                        ("perplexity", "perplexity", "Perplexity"))
              if (points := [point for point in findings.points if point.get(key) is not None and "sparsity" in point])]  # fmt: skip
    if curves:
        yield "Speed and loss over the share of bytes not read", "", curves
    kinds = dict.fromkeys(site["kind"] for site in findings.summary["sites"])
    by_kind = [plots.bytes_of_kind(kind, [s for s in findings.summary["sites"] if s["kind"] == kind]) for kind in kinds]
    if by_kind:
        yield "Bytes per layer and kind", _key("Planned from calibration."), by_kind
    if evaluation.get("sparsity_by_position"):
        yield "Sparsity over tokens", "", [plots.over_tokens(evaluation["sparsity_by_position"])]
    if findings.profile is not None:
        entries = {} if findings.plan is None else findings.plan.entries
        names = _some([s["name"] for s in findings.summary["sites"] if s["name"] in findings.profile.statistics])
        notes = {site["name"]: _note(site) for site in findings.summary["sites"]}
        shown = [plots.input_histogram(name, findings.profile.statistics[name], entries.get(name), notes[name]) for name in names]
        note = ("Distribution of each input, coloured by what is read of the weights for a value. The line is the centre. "
                "Where channels have centres and thresholds of their own, their means stand for them.")  # fmt: skip
        yield "Inputs, centres and thresholds", _key(note), shown


def _overview(evaluation: JsonMapping, benchmark: JsonMapping) -> Iterator[tuple[str, str, str]]:
    if benchmark:
        for key, label, factor in (("decode_tokens_per_s", "decode, tokens/s", 1), ("prefill_tokens_per_s", "prompt, tokens/s", 1),
                                   ("ttft_s", "first token, ms", 1e3), ("load_s", "load, s", 1),
                                   ("peak_rss_bytes", "peak memory, MB", 1e-6)):  # fmt: skip
            stock, sparse = (benchmark[side][key]["median"] * factor for side in ("reference", "model"))
            yield label, f"{stock:,.4g}" if stock < 100 else f"{stock:,.0f}", f"{sparse:,.4g}" if sparse < 100 else f"{sparse:,.0f}"
        yield "decode, paired ratio", "", f"{benchmark['decode_speedup']:.2f}×"
        yield "prompt, paired ratio", "", f"{benchmark['prefill_speedup']:.2f}×"
    if evaluation:
        yield "perplexity", f"{evaluation['reference_perplexity']:.2f}", f"{evaluation['perplexity']:.2f}"
        yield "KL divergence, nats/token", "", f"{evaluation['kl_divergence']:.4f}"
        yield "same next token", "", f"{evaluation['top1_agreement']:.1%}"
        yield "weight bytes not read, measured", "", f"{evaluation['sparsity']:.1%}"
        yield "channels dropped / half / whole", "", " / ".join(f"{evaluation[k]:.0%}" for k in ("dropped", "half", "whole"))
        read = (evaluation["reference_weight_bytes_per_token"] / 1e6, evaluation["weight_bytes_per_token"] / 1e6)
        yield "weights read per token, MB", f"{read[0]:.1f}", f"{read[1]:.1f}"


def _stock(summary: JsonMapping) -> str:
    """What was left as it was, and why: sites by reason, and layers that are no sites."""
    reasons: dict[str, list[str]] = {}
    for site in summary["sites"]:
        if site["state"] != "lowered" and site["reason"]:
            reasons.setdefault(site["reason"], []).append(site["name"])
    for name, reason in summary["skipped"]:
        reasons.setdefault(reason, []).append(name)
    if not reasons:
        return "<h2>What stayed stock</h2><p>Every site was pruned.</p>"
    rows = [(reason, f"{len(names)}: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}") for reason, names in reasons.items()]
    return f"<h2>What stayed stock, and why</h2><div class='text'>{_table(('reason', 'layers'), rows)}</div>"


def _made(findings: Findings) -> str:
    rows = [(key, str(value)) for key, value in findings.config.items() if key != "version" and value not in ([], None)]
    states: dict[str, int] = {}
    for site in findings.summary["sites"]:
        states[site["state"]] = states.get(site["state"], 0) + 1
    rows.insert(0, ("sites", ", ".join(f"{count} {state}" for state, count in sorted(states.items()))))
    rows.insert(1, ("weight bytes not read, expected", f"{findings.summary['expected_sparsity']:.1%}"))
    return f"<h2>How it was made</h2><div class='text'>{_table(('', ''), rows)}</div>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header) if any(header) else ""
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{lines}</table>"


def _note(site: JsonMapping) -> str:
    unread = site["planned_sparsity"]
    return "stays stock" if site["state"] == "stock" else f"{unread:.0%} of its bytes not read, as calibration expects"


def _key(note: str) -> str:
    marks = "".join(f"<span style='background:var(--{name})'></span>{text}" for name, text in _KEYS.items())
    return f"<p class='note'>{html.escape(note)}</p><p class='note key'>{marks}</p>"


def _figure(picture: Picture) -> str:
    title = f"<h3>{html.escape(picture.title)}</h3>" if picture.title else ""
    return (f"<figure>{title}<div role='img' aria-label='{html.escape(picture.title or picture.name, quote=True)}'>{picture.svg()}</div>"
            f"<figcaption>{html.escape(picture.note)}</figcaption></figure>")  # fmt: skip


def _some(names: list[str]) -> list[str]:
    """At most `_MOST_HISTOGRAMS`, in whole runs of four neighbours spread over the model."""
    if len(names) <= _MOST_HISTOGRAMS:
        return names
    runs = _MOST_HISTOGRAMS // 4
    last = (len(names) - 4) // 4
    return [name for i in range(runs) for name in names[4 * (i * last // (runs - 1)) :][:4]]


def _figures(value: Any) -> JsonObject:
    if value is None:
        return {}
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else dict(value)
