"""The demo's steps after source: calibrate, apply and ask, measure, report, table. Each is the scap-ov command that it prints.

1. A step whose result is already in the folder is not run again; speed is always measured afresh.
2. The sparsity that is shown is the largest, in steps of 5 %, at which the sparse model still answers the touchstone question.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scap_ov.cli.chat import QUESTIONS, SMOKE_QUESTION, Answer, ask
from scap_ov.cli.record import record_of
from scap_ov.errors import ScapError
from scap_ov.json_values import JsonObject
from scap_ov.sample_models.real_weights import write_in_form
from scap_ov.sample_models.sample_text import documentation
from scap_ov.sample_models.source import stock_model

if TYPE_CHECKING:
    from scap_ov.cli.output import Output

CALIBRATION_TOKENS, WINDOW = 8192, 512  # sixteen texts at once: a minute on two cores
EVALUATION_TOKENS = 2048
REPEATS = 5  # turns of the benchmark; pairs of them differ by a few percent
STEP = 0.05


class StepError(ScapError):
    """A command of the demo failed; it has already said why."""


@dataclass(frozen=True)
class Sparse:
    """The sparse model that was kept.

    :param share: its target sparsity.
    :param lost_at: larger shares at which the touchstone answer was lost, descending.
    """

    folder: Path
    share: float
    lost_at: tuple[float, ...]
    stock_answers: list[Answer]
    answers: list[Answer]


def command(out: Output, *arguments: object) -> None:
    """Print and run one scap-ov command in this process.

    :raises StepError: it failed.
    """
    from scap_ov.cli.main import main

    words = [str(argument) for argument in arguments]
    out.say(f"  $ scap-ov {shlex.join(words)}")
    if code := main([*words, *(["-q"] if out.silent else [])]):
        error = StepError(f"`scap-ov {words[0]}` failed, see above")
        error.exit_code = code
        raise error


def int8_model(road: str, home: Path, out: Output) -> Path:
    """The stock model with int8 weights, as optimum-cli exports it by default; the GGUF file has 4-bit ones.

    :return: its folder.
    """
    if road == "optimum":
        return stock_model(road, home / "stock", out.say)
    stock = home / "stock-int8"
    if (stock / "openvino_model.xml").is_file():
        out.say(f"  reused {stock}")
        return stock
    out.say("  weights into 8 bits per channel, as optimum-cli has them")
    return write_in_form(stock_model(road, home / "gguf", out.say), "i8", stock)


def calibrate(stock: Path, home: Path, out: Output) -> Path:
    """Observe the stock model on text that it writes itself.

    :return: the profile's path.
    """
    profile = home / "profile.safetensors"
    if profile.is_file():
        out.say(f"  reused {profile}")
    else:
        command(out, "calibrate", stock, "--data", "self", "--tokens", CALIBRATION_TOKENS, "--window", WINDOW, "--output", profile)
    return profile


def plan_path(folder: Path) -> Path:
    """Where the plan of a sparse folder is kept: beside it."""
    return folder.with_name(f"{folder.name}-plan.safetensors")


def apply_and_ask(stock: Path, profile: Path, home: Path, target: float, out: Output) -> Sparse:
    """Prune at the target, put the same questions to both models, and step down while the touchstone answer is lost."""
    from scap_ov import extension_path

    out.say("  stock:")
    stock_answers = ask(stock, QUESTIONS, write=out.stream)
    lost: list[float] = []
    share = target
    while share > 0:
        folder = home / f"sparse-{round(share * 100)}"
        if (folder / "openvino_model.xml").is_file() and plan_path(folder).is_file():
            out.say(f"  reused {folder}")
        else:
            command(out, "apply", stock, "--profile", profile, "--target-sparsity", f"{share:g}", "--output", folder,
                    "--save-plan", plan_path(folder), "--overwrite")  # fmt: skip
        out.say(f"  sparse, {share:.0%}:")
        answers = ask(folder, QUESTIONS, library=str(extension_path()), write=out.stream)
        if SMOKE_QUESTION[1] in answers[0].text:
            return Sparse(folder, share, tuple(lost), stock_answers, answers)
        out.say(f"  At {share:.0%} the answer to '{SMOKE_QUESTION[0]}' is lost; trying {share - STEP:.0%}.")
        lost.append(share)
        share = round(share - STEP, 4)
    msg = f"no sparsity from {target:.0%} down to {STEP:.0%} keeps the answer to '{SMOKE_QUESTION[0]}'; remove {home} and run again"
    raise StepError(msg)


def measure(stock: Path, sparse: Sparse, home: Path, out: Output) -> JsonObject:
    """Quality on text that it was not calibrated on, and speed in alternating runs.

    :return: `{"eval": …, "bench": …}`, as `scap-ov eval` and `scap-ov bench` write them.
    """
    text, quality, speed = home / "documentation.txt", home / f"{sparse.folder.name}-eval.json", home / f"{sparse.folder.name}-bench.json"
    text.write_text(documentation(), encoding="utf-8")
    both = (sparse.folder, "--reference", stock)
    if quality.is_file():
        out.say(f"  reused {quality}")
    else:
        command(out, "eval", *both, "--data", text, "--tokens", EVALUATION_TOKENS, "--json", quality)
    command(out, "bench", *both, "--repeats", REPEATS, "--loads", 1, "--json", speed, "--overwrite")
    return {"eval": json.loads(quality.read_text(encoding="utf-8")), "bench": json.loads(speed.read_text(encoding="utf-8"))}


def report(sparse: Sparse, profile: Path, figures: JsonObject, home: Path) -> Path:
    """A page with plots that needs nothing but itself.

    :return: home / report.html.
    """
    from scap_ov.plan import SparsityPlan
    from scap_ov.report.html import Findings, write_report
    from scap_ov.statistics.profile import CalibrationProfile

    pairs = zip(sparse.stock_answers, sparse.answers, strict=True)
    sections = [(a.question, f"stock: {a.text.strip()}\n\npruned: {b.text.strip()}") for a, b in pairs]
    plan, observed = SparsityPlan.load(plan_path(sparse.folder)), CalibrationProfile.load(profile)
    title = f"SmolLM2-135M-Instruct int8, {sparse.share:.0%} of its weight bytes not read"
    record = record_of(str(sparse.folder)) or {}
    findings = Findings(title, record["summary"], record["config"], plan, observed, figures["eval"], figures["bench"], sections=sections)
    return write_report(home / "report.html", findings)


def table(figures: JsonObject, out: Output) -> None:
    """The gain in figures: stock and sparse side by side."""
    quality, speed = figures["eval"], figures["bench"]
    stock, sparse = speed["reference"], speed["model"]
    rows = [
        ("perplexity (Python's documentation)", quality["reference_perplexity"], quality["perplexity"]),
        ("KL divergence from stock, nats/token", None, quality["kl_divergence"]),
        ("same next token as stock", None, f"{quality['top1_agreement']:.1%}"),
        ("decode, tokens/s", stock["decode_tokens_per_s"]["median"], sparse["decode_tokens_per_s"]["median"]),
        ("decode speed-up", None, f"{speed['decode_speedup']:.2f}x"),
        ("prompt, tokens/s", stock["prefill_tokens_per_s"]["median"], sparse["prefill_tokens_per_s"]["median"]),
        ("weights read per token, MB", quality["reference_weight_bytes_per_token"] / 1e6, quality["weight_bytes_per_token"] / 1e6),
        ("weight bytes of the blocks not read, measured", None, f"{quality['sparsity']:.1%}"),
        ("channels dropped / read by half / read whole", None, " / ".join(f"{quality[key]:.0%}" for key in ("dropped", "half", "whole"))),
    ]
    out.table("Stock and sparse", ("", "stock", "sparse"), rows)
