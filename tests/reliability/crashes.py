"""Commands that are killed, at every step of theirs and at random moments, and commands whose disk is full from some step on.

After each the output is the old one or none, the next run succeeds and gives what an undisturbed run gives, and nothing else is left.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from commands import Ended, complaint, run
from report import SEED, Part

_CHECKPOINT = ("check", "check.profile")  # of calibrate
_PAGES = 32_768  # bytes; a file system has half of that at least


@dataclass(frozen=True)
class Job:
    """A command, and what it writes into its folder."""

    name: str
    argv: Callable[[Path], list[str]]
    outputs: tuple[str, ...]
    timed: bool = False  # times are among what it writes: two runs agree in the keys of its JSON
    weight: int = 6  # of the kills; less of what takes long

    @property
    def writes_models(self) -> bool:
        """Whether it writes a model, a plan or a profile, and not figures alone."""
        return self.outputs != ("json",)


def jobs(files: Path) -> list[Job]:
    """The commands that write."""
    apply = ["apply", str(files / "stock"), "-o"]
    data = ["--data", str(files / "text.txt"), "--tokens", "96", "--window", "32"]
    return [
        Job("apply", lambda w: [*apply, str(w / "out"), "--plan", str(files / "plan.safetensors")], ("out",)),
        Job("apply --profile", lambda w: [*apply, str(w / "out"), "--profile", str(files / "profile.safetensors"), "--replace", "always",
                                          "--target-sparsity", "0.4", "--save-plan", str(w / "plan"), "--json", str(w / "json")],
            ("out", "plan", "json")),
        Job("merge", lambda w: ["merge", str(files / "profile.safetensors"), str(files / "shard.safetensors"), "-o", str(w / "merged")],
            ("merged",)),
        Job("calibrate", lambda w: ["calibrate", str(files / "stock"), *data, "--checkpoint", str(w / "check"), "-o", str(w / "profile")],
            ("profile",), weight=2),
        Job("eval", lambda w: ["eval", str(files / "sparse"), "--reference", str(files / "stock"), *data, "--json", str(w / "json")],
            ("json",)),
        *_with_tokenizers(files),
        Job("bundle", lambda w: ["bundle", str(files / "sparse"), str(w / "sparse.tar"), "--libraries", "list"], ("sparse.tar",)),
    ]  # fmt: skip


def _with_tokenizers(files: Path) -> list[Job]:
    """Commands that run openvino-genai."""
    few = ["--prompt-tokens", "8", "--new-tokens", "4", "--repeats", "1", "--loads", "1"]
    chat, reference = str(files / "chat"), ["--reference", str(files / "chat-stock")]
    return [
        Job("generate", lambda w: ["generate", chat, "w3 w4", "--max-new-tokens", "8", "--json", str(w / "json")], ("json",), timed=True),
        Job("bench", lambda w: ["bench", chat, *reference, *few, "--json", str(w / "json")], ("json",), timed=True, weight=3),
    ]


def crashes(files: Path, work: Path, kills: int, starved: int, shares: tuple[float, ...]) -> Part:
    """`kills` kills and `starved` full disks, shared out among the commands; file systems with such shares of the room that is needed."""
    part = Part("Kills and full disks")
    rng = np.random.default_rng(SEED)
    chosen = jobs(files)
    for job in chosen:
        share = job.weight / sum(each.weight for each in chosen)
        folder = _fresh(work)
        whole = run(job.argv(folder), folder)
        part.check(whole.code == 0, f"{job.name} undisturbed: {whole.said[-400:]}")
        if whole.code:
            continue
        wanted, size = _digests(job, folder), _size(folder)
        hit = 0
        for how in _moments(whole, math.ceil(kills * share), rng):
            if hit == math.ceil(kills * share):
                break
            folder = _fresh(work)
            ended = run(job.argv(folder), folder, **how)
            if ended.code != -signal.SIGKILL:
                continue  # it had ended before
            part.count("kills")
            if job.writes_models:
                part.count("of these of apply, merge, calibrate and bundle")
            _check(part, job, folder, wanted, f"killed {how}", again=hit % 4 == 0)
            hit += 1
        for step in rng.permutation(whole.steps)[: math.ceil(starved * share)]:
            _starve(part, job, work, wanted, int(step))
        _small_disks(part, job, size, work, shares)
    shutil.rmtree(work / "job", ignore_errors=True)
    return part


def _starve(part: Part, job: Job, work: Path, wanted: dict[str, str], step: int) -> None:
    """A disk that is full from some step on."""
    folder = _fresh(work)
    ended = run(job.argv(folder), folder, fail_at=step + 1)
    part.count("full disks")
    wrong = complaint(ended)
    part.check(wrong is None, f"{job.name}, disk full from step {step + 1}: {wrong}")
    left = _left(folder, *job.outputs)
    # what cannot be removed is named; what can be is gone
    part.check(all(name in ended.said for name in left), f"{job.name}, disk full from step {step + 1}: {left} is left")
    _check(part, job, folder, wanted, f"disk full from step {step + 1}", again=step % 4 == 0)


def _left(folder: Path, *outputs: str) -> list[str]:
    """What lies in a folder beside outputs and the checkpoint, from which the next run goes on."""
    return sorted(p.name for p in folder.iterdir() if p.name not in (*outputs, *_CHECKPOINT))


def _small_disks(part: Part, job: Job, size: int, work: Path, shares: tuple[float, ...]) -> None:
    """File systems with too little room, where what is written below Python meets the end too, and one that cannot be written."""
    for share in shares if size > _PAGES else ():  # what a few pages hold is complete or not begun
        folder = _fresh(work)
        if not _mounted(folder, f"size={max(int(size * share), _PAGES // 2)}"):
            part.figures["small file systems"] = 0
            return
        ended = run(job.argv(folder), folder)
        part.count("small file systems")
        wrong = complaint(ended) or ("" if ended.code else "it succeeded")
        left = _left(folder)
        part.check(not wrong and not left, f"{job.name} with {share:.0%} of the room: {wrong or f'{left} is left'}")
        _umount(folder)
    folder = _fresh(work)
    if _mounted(folder, "ro"):
        ended = run(job.argv(folder), folder)
        part.count("read-only folders")
        wrong = complaint(ended) or ("" if ended.code == 2 else f"exit code {ended.code}")
        part.check(not wrong, f"{job.name} into a read-only folder: {wrong}")
        _umount(folder)


def _mounted(folder: Path, options: str) -> bool:
    """Whether a tmpfs could be put there: that takes root."""
    mount = shutil.which("mount")
    return mount is not None and os.getuid() == 0 and subprocess.run([mount, "-t", "tmpfs", "-o", options, "none", folder],
                                                                      capture_output=True, check=False).returncode == 0  # fmt: skip


def _umount(folder: Path) -> None:
    subprocess.run([shutil.which("umount") or "umount", folder], check=True)


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _moments(whole: Ended, count: int, rng: np.random.Generator) -> Iterator[dict[str, float]]:
    """A third at steps, spread evenly; the others at random moments, most of them late, where files are written. More than `count`: a run
    may end before its moment."""
    steps = np.unique(np.linspace(1, whole.steps, count // 3 + 1).astype(int))
    yield from ({"kill_at": int(step)} for step in steps)
    for number in range(3 * count):
        yield {"kill_after": whole.seconds * (rng.random() if number % 2 else 0.6 + 0.4 * rng.random())}


def _check(part: Part, job: Job, folder: Path, wanted: dict[str, str], what: str, *, again: bool) -> None:
    for name in job.outputs:
        if (folder / name).exists():
            part.check(_digest(job, folder / name) == wanted[name], f"{job.name}, {what}: {name} is there and not complete")
    if not again:
        return
    for name in job.outputs:  # a complete output stands in the way of a second run, as it should
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    second = run(job.argv(folder), folder)
    part.count("runs afterwards")
    part.check(second.code == 0, f"{job.name} after being {what}: {second.said[-300:]}")
    if second.code == 0:
        part.check(_digests(job, folder) == wanted, f"{job.name} after being {what}: another result")
        left = sorted(p.name for p in folder.iterdir() if p.name not in job.outputs)
        part.check(not left, f"{job.name} after being {what}: {left} is left by the second run")


def _fresh(work: Path) -> Path:
    folder = work / "job"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _digests(job: Job, folder: Path) -> dict[str, str]:
    return {name: _digest(job, folder / name) for name in job.outputs}


def _digest(job: Job, path: Path) -> str:
    if job.timed:
        try:
            return repr(_keys(json.loads(path.read_text())))
        except ValueError:
            return "no JSON"
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


def _keys(value: object) -> object:
    """A JSON value without its numbers and texts."""
    if isinstance(value, dict):
        return {key: _keys(each) for key, each in sorted(value.items())}
    return [_keys(each) for each in value] if isinstance(value, list) else None
