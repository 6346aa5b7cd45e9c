"""One command of the program in a process of its own, forked from one that has everything imported: killed, starved, or left to end."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# What Python asks of the file system, as its audit hooks tell it. Nothing of a model's compilation is among them.
STEPS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "shutil.copyfile", "shutil.rmtree",
                   "shutil.copymode", "shutil.copystat", "tempfile.mkdtemp", "tempfile.mkstemp", "os.link", "os.symlink"})  # fmt: skip


_BEAT = 0.1  # seconds; a longer pause between two looks was not the command's


@dataclass
class Ended:
    """How a command ended: its exit code, or minus the signal that ended it; what it said; and file system steps that it took."""

    code: int
    said: str
    steps: int
    seconds: float


def run(argv: list[str], work: Path, *, kill_at: int | None = None, kill_after: float | None = None, fail_at: int | None = None,
        seconds: float = 180) -> Ended:  # fmt: skip
    """Run `scap-ov argv`.

    :param work: only steps on paths in this folder count.
    :param kill_at: SIGKILL just before this step.
    :param kill_after: SIGKILL after so many seconds.
    :param fail_at: this step and all later ones that write fail as on a full disk.
    :param seconds: a hang.
    """
    log = work.parent / f"{work.name}.log"
    counter = work.parent / f"{work.name}.steps"
    counter.write_text("0")
    log.write_text("")
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(argv, work, log, counter, kill_at, fail_at)
    code = _wait(pid, started, kill_after, seconds)
    return Ended(code, log.read_text(errors="replace"), int(counter.read_text() or 0), time.monotonic() - started)


def _wait(pid: int, started: float, kill_after: float | None, seconds: float) -> int:
    limit = min(seconds, kill_after if kill_after is not None else seconds)
    ran, last = 0.0, started
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        ran, last = ran + min(now - last, _BEAT), now  # a machine that stands still is no hang
        if ran > limit:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -signal.SIGKILL if kill_after is not None and limit < seconds else -signal.SIGALRM  # the latter: a hang
        time.sleep(0.002)


def _child(argv: list[str], work: Path, log: Path, counter: Path, kill_at: int | None, fail_at: int | None) -> None:
    code = 99
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        count = os.open(counter, os.O_WRONLY)
        sys.addaudithook(_hook(os.fspath(work), count, kill_at, fail_at))
        from scap_ov.cli.main import main

        code = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - told through the log and the exit code
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _hook(work: str, count: int, kill_at: int | None, fail_at: int | None) -> Callable[[str, tuple[object, ...]], None]:
    steps = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal steps
        if event not in STEPS or not any(isinstance(a, (str, bytes, os.PathLike)) and os.fsdecode(a).startswith(work) for a in arguments):
            return
        steps += 1
        os.pwrite(count, str(steps).encode(), 0)
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if fail_at is not None and steps >= fail_at and _writes(event, arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return hook


def _writes(event: str, arguments: tuple[object, ...]) -> bool:
    if event == "open":
        flags = arguments[2] if len(arguments) > 2 else 0
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in ("os.mkdir", "os.rename", "shutil.copyfile", "tempfile.mkdtemp", "tempfile.mkstemp", "os.link")


def complaint(ended: Ended) -> str | None:
    """What is wrong with how a command ended that was given something bad: it died, hung, or told no sentence."""
    if ended.code < 0:
        return "it hung" if ended.code == -signal.SIGALRM else f"it died by {signal.Signals(-ended.code).name}"
    if "Traceback" in ended.said or ended.code == 99:
        return f"a traceback: {ended.said.strip().splitlines()[-1][:200]}"
    if "unexpected" in ended.said:
        return f"no sentence: {next(line for line in ended.said.splitlines() if 'unexpected' in line)[:300]}"
    told = not ended.code or "scap-ov: error: " in ended.said
    return None if told and ended.code in (0, 1, 2) else f"exit code {ended.code} without a sentence: {ended.said.strip()[-200:]}"
