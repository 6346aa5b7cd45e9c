"""Where the exports of the registry are kept, and the processes that make them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from architectures.rows import Row
from made_once import place

SCRIPT = Path(__file__).with_name("export_rows.py")
WEIGHTS = SCRIPT.parents[1] / "torch_weights.py"  # which it imports
EXAMPLES = SCRIPT.parents[2] / "examples"
PROCESSES = 2
PINNED = "transformers-5.0"  # folder in the venv that `make` puts an older release in, for rows that need it


def export_place(row: Row) -> Path:
    """Where the export of a row is kept: named after the row, the script that writes it and the packages."""
    example = [EXAMPLES / f"{row.example}.py"] if row.example else []
    return place(f"row-{row.name}", [row.name, row.config, row.options, row.model, row.task, row.transformers, SCRIPT, WEIGHTS, *example])


def error_of(folder: Path) -> Path:
    """Where export_rows.py writes why it failed."""
    return folder.with_name(f"{folder.name}.error")


def start(names: list[str], places: dict[str, Path], *, pinned: bool) -> subprocess.Popen:
    """Export some rows. A process traces on one core, so two of them share the machine."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    if pinned:
        environment["PYTHONPATH"] = str(pinned_transformers())
    words = [f"{name}={places[name]}" for name in names]
    return subprocess.Popen([sys.executable, str(SCRIPT), *words], env=environment, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


def pinned_transformers() -> Path:
    """Where the older release lies."""
    return Path(os.environ.get("SCAP_OV_TRANSFORMERS") or Path(sys.prefix) / PINNED)
