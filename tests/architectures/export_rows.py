"""Export rows of the registry with optimum-intel into folders. Run by conftest in a process of its own, for torch is large.

python export_rows.py ROW=FOLDER ...      -> FOLDER, or FOLDER.error with the reason
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from rows import ROWS, Row
from torch_weights import spread_out


def export(row: Row, folder: Path) -> None:
    """Write the float export of a row as optimum-cli does before it compresses."""
    import torch
    from optimum.exporters.openvino import export_from_model

    if row.example:
        runpy.run_path(str(Path(__file__).parents[2] / "examples" / f"{row.example}.py"))
    torch.manual_seed(len(row.name))
    config = getattr(transformers, row.config)(**row.options)
    kind = getattr(transformers, row.model)
    model = (kind.from_config(config) if row.model.startswith("Auto") else kind(config)).eval()
    spread_out(model)
    export_from_model(model, output=folder, task=row.task, stateful=True)


def main() -> None:
    """Export what the command line names; one that fails does not keep the others from it."""
    for word in sys.argv[1:]:
        name, folder = word.split("=", 1)[0], Path(word.split("=", 1)[1])
        scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            export(ROWS[name], scratch)
        except Exception as e:  # noqa: BLE001 - optimum raises ValueError, RuntimeError, TypeError; the reason goes into the table
            folder.with_name(f"{folder.name}.error").write_text(f"{type(e).__name__}: {e}")
        else:
            scratch.rename(folder)


if __name__ == "__main__":
    main()
