"""Damaged models, profiles, plans, configurations, records and texts, through the commands: a sentence, never a crash, a hang or a file.

hypothesis draws which file of which command is damaged, and how, and makes what fails smaller; the command runs in a process of its own.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from commands import complaint, run
from corpus import damaged
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from report import SEED, Part

# command with {file} where the damaged copy goes, and the file that is damaged
COMMANDS: tuple[tuple[str, str], ...] = (
    ("inspect {file}", "sparse/openvino_model.xml"),
    ("inspect {file}", "sparse/openvino_model.bin"),
    ("inspect {file}", "sparse/scap_config.json"),
    ("validate {file} {files}/stock --runs 1", "sparse/openvino_model.xml"),
    ("validate {file} {files}/stock --runs 1", "sparse/openvino_model.bin"),
    ("validate {file} {files}/stock --runs 1", "portable/openvino_model.xml"),
    ("inspect {file}", "portable/openvino_model.xml"),
    ("validate {file} {files}/stock --runs 1", "levels/openvino_model.xml"),
    ("inspect {file}", "levels/openvino_model.xml"),
    ("bundle {file} {out}.tar --libraries list", "sparse/openvino_model.xml"),
    ("apply {file} -o {out} --plan {files}/plan.safetensors", "stock/openvino_model.xml"),
    ("apply {files}/stock -o {out} --plan {file}", "plan.safetensors"),
    ("apply {files}/stock -o {out} --plan {file}", "old-plan.safetensors"),
    ("apply {files}/stock -o {out} --replace always --profile {file}", "profile.safetensors"),
    ("merge {files}/profile.safetensors {file} -o {out}", "shard.safetensors"),
    ("merge {file} {files}/old-profile.safetensors -o {out}", "old-profile.safetensors"),
    ("apply {files}/stock -o {out} --profile {files}/profile.safetensors --config {file}", "config.toml"),
    ("calibrate {files}/stock --data {file} --tokens 64 --window 32 -o {out}", "text.txt"),
    ("calibrate {files}/stock --data {file} --tokens 64 --window 32 -o {out}", "text.jsonl"),
    ("calibrate {file} --data {files}/text.txt --tokens 64 --window 32 -o {out}", "stock/tokenizer.json"),
    ("eval {files}/sparse {files}/stock --data {file} --windows 1 --window 32", "text.jsonl"),
)  # fmt: skip


def damaged_files(files: Path, work: Path, seconds: float, first: int = SEED) -> Part:
    """As many calls as fit into the time."""
    part = Part("Damaged files through the commands")
    until = time.monotonic() + seconds
    round_ = first
    while time.monotonic() < until and len(part.failures) < 20:
        _round(part, files, work, until, round_)
        round_ += 1
    part.figures["seconds"] = seconds
    return part


def _round(part: Part, files: Path, work: Path, until: float, number: int) -> None:
    @seed(number)
    @settings(max_examples=60, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(COMMANDS) - 1), st.integers(0, 2**32 - 1))
    def one(which: int, damage: int) -> None:
        if time.monotonic() < until:
            call(part, files, work, which, damage)

    one()


def call(part: Part, files: Path, work: Path, which: int, damage: int) -> None:
    """One command with one damaged file."""
    command, name = COMMANDS[which]
    folder = work / "call"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = files / name
    target = folder / "given" / source.name
    if "/" in name:
        shutil.copytree(source.parent, target.parent)
    else:
        target.parent.mkdir()
    raw = damaged(source.read_bytes(), np.random.default_rng(damage))
    target.write_bytes(raw)
    given_path = target.parent if "/" in name else target
    argv = command.format(file=given_path, files=files, out=folder / "out").split()
    ended = run(argv, folder)
    part.count("calls")
    part.count("refused", ended.code != 0)
    wrong = complaint(ended)
    left = sorted(p.name for p in folder.iterdir() if p.name not in ("given", *(["out", "out.tar"] if ended.code == 0 else [])))
    if wrong is None and left:
        wrong = f"{left} is left"
    if wrong is None and target.read_bytes() != raw:
        wrong = "the input was changed"
    part.check(wrong is None, f"`scap-ov {command}`, {name} damaged by {damage}: {wrong}; repeat with damaged_files.py {which} {damage}")
