"""All of it: `make reliability` in full, with the page docs/reliability.md; `make reliability-short` in CI. Two parts run at a time.

python tests/reliability/run.py [--short | --scale S] [--only PART ...] [--results FOLDER] [--page FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE.parents[1] / "benchmarks")]

from report import SEED, Part  # noqa: E402 - behind the path to it

_AT_A_TIME = 2
_WITHOUT_FILES = ("fuzz", "sanitized", "threads", "sweep", "forms")  # these run while the models of the others are made


@dataclasses.dataclass(frozen=True)
class _Amount:
    """How much of something: of the form of CI, or of the full one."""

    short: bool
    scale: float

    def __call__(self, full: float, quick: float) -> float:
        return quick if self.short else full * self.scale


def parts(*, short: bool, scale: float = 1) -> dict[str, Callable[[Path, Path], Part]]:
    """Name -> a function of a folder with files and one to work in; the longest first."""

    of = _Amount(short, scale)

    def fuzz(files: Path, work: Path) -> Part:
        from kernel_library import runnable
        from native import fuzz

        names = runnable()
        return fuzz(of(240, 24), [names[0], "scalar"] if short else names)

    def damaged(files: Path, work: Path) -> Part:
        from damaged_files import damaged_files

        return damaged_files(files, work, of(240, 30))

    def kills(files: Path, work: Path) -> Part:
        from crashes import crashes

        # of 350 kills at least 200 are to hit the commands that write models, plans and profiles
        return crashes(files, work, int(of(350, 16)), int(of(64, 8)), shares=(0.6,) if short else (0.2, 0.6, 0.95))

    def sanitized(files: Path, work: Path) -> Part:
        from native import sanitized_sweep

        return sanitized_sweep(int(of(200, 20)))

    def threads(files: Path, work: Path) -> Part:
        from native import threads

        return threads(int(of(4, 1)))

    def sweep(files: Path, work: Path) -> Part:
        from kernel_library import runnable
        from sweep import emulated, sweep

        names = runnable()
        part = sweep(SEED, -(-int(of(25_000, 1_500)) // len(names)), names)
        emulated(part, SEED + 1_000_000, int(of(500, 20)))
        return part

    def layers(files: Path, work: Path) -> Part:
        from forms import forms

        return forms(SEED, int(of(600, 60)))

    def together(files: Path, work: Path) -> Part:
        from concurrency import concurrency, switching
        from corpus import LEVELS

        part = concurrency([files / name for name in ("stock", "sparse", "portable")], of(60, 4))
        switching(part, files / "levels", LEVELS, of(20, 2))
        return part

    def memory(files: Path, work: Path) -> Part:
        from concurrency import soak

        return soak(files / "sparse", int(of(100_000, 5_000)))

    return {"fuzz": fuzz, "damaged": damaged, "kills": kills, "sanitized": sanitized, "threads": threads, "sweep": sweep,
            "forms": layers, "concurrency": together, "memory": memory}  # fmt: skip


def one(name: str, files: Path, *, short: bool, scale: float) -> Part:
    """Run a part in this process."""
    if name in ("damaged", "kills"):
        _import_commands()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reliability-") as work:
        os.environ["XDG_CACHE_HOME"] = f"{work}/cache"  # measurements of a loaded machine are none to keep
        part = parts(short=short, scale=scale)[name](files, Path(work))
    part.seconds = time.monotonic() - started
    return part


def _import_commands() -> None:
    """So that a forked process starts at once. Nothing of OpenVINO runs before the fork: its threads would not be in the child."""
    import importlib.util

    from scap_ov.cli.main import COMMANDS

    for home, _ in COMMANDS.values():
        importlib.import_module(home)
    for name in ("openvino", "openvino.opset13", "openvino_genai", "openvino_tokenizers", "tokenizers", "safetensors.numpy", "scipy.stats"):
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)


def _process(name: str, files: Path, *, short: bool, scale: float) -> Part:
    """A part in a process of its own: its crash is a failure, and not ours."""
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        argv = [
            sys.executable,
            __file__,
            "--only",
            name,
            "--files",
            str(files),
            "--result",
            result.name,
            "--scale",
            str(scale),
            *(["--short"] if short else []),
        ]
        started = time.monotonic()
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        text = Path(result.name).read_text()
    if not text:
        return Part(name, failures=[f"ended with {done.returncode}: {done.stderr.strip()[-2000:]}"], seconds=time.monotonic() - started)
    return Part(**json.loads(text))


def _kept(results: Path | None, name: str, files: Path, *, short: bool, scale: float) -> Part:
    """What an earlier run found, or that of this one."""
    if results is None:
        return _process(name, files, short=short, scale=scale)
    results.mkdir(parents=True, exist_ok=True)
    kept = results / f"{name}.json"
    if not kept.is_file():
        kept.write_text(json.dumps(dataclasses.asdict(_process(name, files, short=short, scale=scale))))
    return Part(**json.loads(kept.read_text()))


def _show(part: Part) -> None:
    figures = ", ".join(f"{value:,g} {what}" for what, value in part.figures.items())
    state = f"not run: {part.skipped}" if part.skipped else f"{len(part.failures)} failures" if part.failures else "clean"
    print(f"{part.name}: {state}; {figures} ({part.seconds:.0f} s)", flush=True)
    for failure in part.failures[:20]:
        print(f"  {failure}", flush=True)


def _files(folder: Path | None, scratch: Path) -> Path:
    if folder is not None:
        return folder
    made = scratch / "files"
    made.mkdir()
    subprocess.run([sys.executable, __file__, "--make", str(made)], check=True)
    return made


def main() -> int:
    """Run what was asked for; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = list(parts(short=True))
    parser.add_argument("--short", action="store_true", help="the form of CI, some minutes")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="how much of the full form, such as 0.2; counts and seconds are multiplied"
    )
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument("--page", type=Path, help="write the figures to this page")
    parser.add_argument("--results", type=Path, help="a folder that keeps the result of every part; those that it holds are not run again")
    parser.add_argument("--files", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        from corpus import make

        make(args.make)
        return 0
    if args.result:
        args.result.write_text(json.dumps(dataclasses.asdict(one(args.only[0], args.files, short=args.short, scale=args.scale))))
        return 0
    print(f"seed {SEED}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="reliability-") as scratch,
        ThreadPoolExecutor(min(_AT_A_TIME, os.cpu_count() or 1)) as pool,
    ):
        wanted = args.only or names
        made = pool.submit(_files, args.files, Path(scratch)) if set(wanted) - set(_WITHOUT_FILES) else None

        def run(name: str) -> Part:
            files = Path(scratch) if made is None or name in _WITHOUT_FILES else made.result()
            return _kept(args.results, name, files, short=args.short, scale=args.scale)

        running = [pool.submit(run, name) for name in wanted]
        found = []
        for waiting in running:
            found.append(waiting.result())
            _show(found[-1])
    if args.page:
        from write_page import page

        args.page.write_text(page(found, [name for name in names if args.only and name not in args.only]), encoding="utf-8")
    return int(any(part.failures for part in found))


if __name__ == "__main__":
    sys.exit(main())
