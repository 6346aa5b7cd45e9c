"""Write the report of a pruned model as one HTML file without outside references."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scap_ov.atomic import new_file
from scap_ov.report import plots

if TYPE_CHECKING:
    from scap_ov.plan import SparsityPlan
    from scap_ov.statistics.profile import CalibrationProfile

_MOST_HISTOGRAMS = 24  # all 120 sites of a small model would make a page of 10 MB
_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}h2{margin-top:2em}small{color:#666}"""


def write_report(
    path: str | Path,
    plan: SparsityPlan,
    profile: CalibrationProfile | None = None,
    evaluation: Any = None,
    benchmark: Any = None,
    *,
    title: str = "scap_ov report",
    sections: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write the page.

    :param path: the .html file.
    :param profile: what the plan was fitted to; without it there are no histograms.
    :param evaluation: EvaluationResult, or its figures as `scap-ov eval --json` writes them.
    :param benchmark: BenchmarkResult, or its figures.
    :param sections: further (heading, text) pairs, such as answers of the model; plain text.
    :raises MissingDependencyError: matplotlib is not installed.
    :raises OutputError: the file cannot be written.
    """
    evaluation, benchmark = _figures(evaluation), _figures(benchmark)
    parts = [f"<h1>{html.escape(title)}</h1>", _overview(plan, evaluation, benchmark)]
    if benchmark:
        parts.append(
            _image(
                "Speed and memory", "Stock and sparse in alternating runs; bars are medians, whiskers the range.", plots.speed(benchmark)
            )
        )
    measured = {site["name"]: site["sparsity"] for site in evaluation.get("sites", ())}
    parts.append(_image("Sparsity by block", "Planned from calibration (lines), measured on the evaluation text (dots).",
                        plots.sparsity_by_block(plan, measured)))  # fmt: skip
    if profile is not None:
        names = _some([site.name for site in plan.sites if site.name in profile.statistics])
        note = "The band is dropped: each value in it is replaced by the centre (red line; the mean where every channel has its own)."
        parts.append(_image("Inputs, centres and thresholds", note, plots.histograms(plan, profile, names)))
    parts += [f"<h2>{html.escape(heading)}</h2><p style='white-space:pre-wrap'>{html.escape(text)}</p>" for heading, text in sections]
    page = (f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
            f"<body>{''.join(parts)}</body></html>\n")  # fmt: skip
    return write_page(path, page)


def write_page(path: str | Path, page: str) -> Path:
    """Write a page so that it appears only when it is complete.

    :raises OutputError: it cannot be written.
    """
    with new_file(path) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
    return Path(path)


def _overview(plan: SparsityPlan, evaluation: Mapping[str, Any], benchmark: Mapping[str, Any]) -> str:
    config = plan.config
    rows: list[tuple[str, str, str]] = [
        ("method", "", config.method),
        ("target sparsity", "", str(config.target_sparsity)),
        ("weight bytes not read, expected", "", f"{plan.expected_sparsity():.1%}"),
    ]
    if evaluation:
        rows += [
            ("perplexity", f"{evaluation['reference_perplexity']:.2f}", f"{evaluation['perplexity']:.2f}"),
            ("KL divergence from stock, nats/token", "", f"{evaluation['kl_divergence']:.4f}"),
            ("same next token as stock", "", f"{evaluation['top1_agreement']:.1%}"),
            ("weight bytes not read, measured", "", f"{evaluation['sparsity']:.1%}"),
            ("channels dropped / read by half / read whole", "", " / ".join(f"{evaluation[k]:.0%}" for k in ("dropped", "half", "whole"))),
            ("weights read per token, MB", f"{evaluation['reference_weight_bytes_per_token'] / 1e6:.1f}",
             f"{evaluation['weight_bytes_per_token'] / 1e6:.1f}"),
        ]  # fmt: skip
    if benchmark:
        for key, label, factor in (("decode_tokens_per_s", "decode, tokens/s", 1), ("prefill_tokens_per_s", "prompt, tokens/s", 1),
                                   ("ttft_s", "first token, ms", 1e3), ("peak_rss_bytes", "peak memory, MB", 1e-6)):  # fmt: skip
            rows.append(
                (label, f"{benchmark['reference'][key]['median'] * factor:.1f}", f"{benchmark['model'][key]['median'] * factor:.1f}")
            )
        rows.append(("decode speed-up, paired", "", f"{benchmark['decode_speedup']:.2f}×"))
    cells = "".join(f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td><td>{html.escape(c)}</td></tr>" for a, b, c in rows)
    return f"<table><tr><th></th><th>stock</th><th>sparse</th></tr>{cells}</table>"


def _image(heading: str, note: str, source: str) -> str:
    return f"<h2>{html.escape(heading)}</h2><img alt='{html.escape(heading)}' src='{source}'><p><small>{html.escape(note)}</small></p>"


def _some(names: list[str]) -> list[str]:
    """At most `_MOST_HISTOGRAMS`, in whole runs of four neighbours spread over the model."""
    if len(names) <= _MOST_HISTOGRAMS:
        return names
    runs = _MOST_HISTOGRAMS // 4
    last = (len(names) - 4) // 4
    return [name for i in range(runs) for name in names[4 * (i * last // (runs - 1)) :][:4]]


def _figures(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else dict(value)
