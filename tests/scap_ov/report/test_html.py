"""The report: what it says, that it needs nothing but itself, and how Chromium shows it on a phone, on a screen and in the dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_profile import small_profile

import scap_ov
from scap_ov.report.html import Findings, write_report
from scap_ov.report.picture import DARK, LIGHT
from scap_ov.report.verdict import verdict
from scap_ov.storage.rt_info import summarise

HOSTILE = "<script>console.error(1)</script> $x^2$ & 'one' \"two\""
_MEASURE = """<script>addEventListener('load',()=>{const style=getComputedStyle(document.body);
const sizes=[...document.querySelectorAll('svg text')].map(t=>t.getBoundingClientRect().height);
parent.document.title=JSON.stringify({width:innerWidth,scroll:document.documentElement.scrollWidth,paper:style.backgroundColor,ink:style.color,
least:Math.min(...sizes),texts:sizes.length,pictures:document.querySelectorAll('svg').length,
bars:getComputedStyle(document.querySelector('svg path[style*="--sparse"]')).fill})})</script>"""


def spread(value: float) -> dict[str, float]:
    return {"median": value, "min": 0.9 * value, "max": 1.1 * value}


def speeds(decode: float, memory: float) -> dict[str, object]:
    return {
        "decode_tokens_per_s": spread(decode),
        "prefill_tokens_per_s": spread(900.0),
        "ttft_s": spread(0.1),
        "load_s": spread(1.0),
        "peak_rss_bytes": spread(memory),
    }


BENCH = {"model": speeds(80, 3e8), "reference": speeds(50, 4e8), "decode_speedup": 1.6, "prefill_speedup": 1.0}
EVAL = {
    "perplexity": 21.0,
    "reference_perplexity": 20.0,
    "kl_divergence": 0.05,
    "top1_agreement": 0.9,
    "sparsity": 0.48,
    "dropped": 0.2,
    "half": 0.56,
    "whole": 0.24,
    "weight_bytes_per_token": 6e7,
    "reference_weight_bytes_per_token": 1e8,
    "sparsity_by_position": [{"position": p, "mean": 0.5, "low": 0.4, "high": 0.6} for p in range(1, 9)],
}
POINTS = [{"method": m, "sparsity": s, "kl_divergence": s * s, "perplexity": 20 + s} for m in ("graded", "scap") for s in (0.3, 0.5)]


@pytest.fixture(scope="module")
def findings() -> Findings:
    profile = small_profile()
    plan = scap_ov.fit(profile, scap_ov.SparsityConfig(0.5, method="scap"))
    stock = {plan.sites[0].name: f"slower here {HOSTILE}"}
    summary = summarise(plan, "lowered", stock, [(f"layer {HOSTILE}", "a convolution")])
    summary["sites"][1]["kind"] = HOSTILE
    return Findings(HOSTILE, summary, plan.config.to_dict(), plan, profile, EVAL, BENCH, POINTS, [(HOSTILE, HOSTILE)])


@pytest.fixture(scope="module")
def page(findings: Findings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report") / "report.html", findings)


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_needs_nothing_but_itself_and_shows_names_as_they_are(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = Elements(text)
    assert "script" not in found.tags
    assert {reference[0] for reference in found.references} <= {"#", "d"}  # parts of the page, and an empty icon
    assert "url(http" not in text
    assert found.text.count(HOSTILE) >= 5  # title, heading, reason, skipped layer, section
    assert "<meta name='viewport'" in text


def test_it_tells_gain_and_loss_bytes_and_what_stayed_stock(page: Path) -> None:
    text = Elements(page.read_text(encoding="utf-8")).text
    assert (
        "The pruned model decodes 1.60 times as fast as stock (50 → 80 tokens/s) with 0.75 times the peak memory, and raises "
        "the perplexity "
        "by 5.0% (20.00 → 21.00; KL 0.050 nats per token, the same next token in 90%); 48% of the weight bytes of its block layers are "
        "not read per token."
    ) in text
    for heading in (
        "Speed and memory",
        "Speed and loss over the share of bytes not read",
        "Bytes per layer and kind",
        "Sparsity over tokens",
        "Inputs, centres and thresholds",
        "What stayed stock, and why",
        "How it was made",
    ):
        assert heading in text
    assert "1: block.0.qkv" in text
    assert "a convolution" in text


def test_what_was_not_measured_is_said_with_the_cure(findings: Findings) -> None:
    summary = findings.summary
    assert "Neither speed nor loss was measured: give --reference, --data and --measure." in verdict(summary, {}, {})
    assert "Its loss was not measured" in verdict(summary, {}, BENCH)
    assert "Its speed was not measured" in verdict(summary, EVAL, {})
    slower = verdict(summary, {**EVAL, "perplexity": 19.0}, {**BENCH, "decode_speedup": 0.9})
    assert "at 0.90 of the speed of stock, so slower" in slower
    assert "lowers the perplexity by 5.0%" in slower


def test_every_plot_is_a_picture_too(findings: Findings, tmp_path: Path) -> None:
    pictures = tmp_path / "png"
    pictures.mkdir()
    one = {**findings.summary, "sites": findings.summary["sites"][:2]}
    page = write_report(tmp_path / "r.html", replace(findings, summary=one), pictures=pictures)
    written = sorted(pictures.iterdir())
    assert len(written) == Elements(page.read_text()).tags.count("svg") == 8
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert all(re.fullmatch(r"[a-z0-9-]+\.png", path.name) for path in written)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(("width", "palette"), [(390, LIGHT), (1280, DARK)])
def test_chromium_shows_it_without_errors_and_without_scrolling_sideways(
    width: int, palette: dict[str, str], page: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "page.html"
    inner = html.escape(page.read_text(encoding="utf-8").replace("</body>", _MEASURE + "</body>"), quote=True)
    # a window of Chromium is at least 500 wide, a frame is as narrow as a phone
    copy.write_text(
        f"<!doctype html><meta charset='utf-8'><link rel='icon' href='data:,'><title></title>"
        f"<iframe width='{width}' height='900' srcdoc=\"{inner}\">",
        encoding="utf-8",
    )
    scheme = 0 if palette is DARK else 1
    command = (
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--window-size=1400,1000",
        f"--blink-settings=preferredColorScheme={scheme}",
        "--dump-dom",
        copy.as_uri(),
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    seen = json.loads(html.unescape(title[1]))
    assert seen["scroll"] <= seen["width"] == width
    assert seen["least"] >= 9  # pixels: labels of plots can be read
    assert seen["texts"] > seen["pictures"] > 10
    assert (hexadecimal(seen["paper"]), hexadecimal(seen["ink"]), hexadecimal(seen["bars"])) == (
        palette["paper"],
        palette["ink"],
        palette["sparse"],
    )


def hexadecimal(rgb: str) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", rgb)[:3])
