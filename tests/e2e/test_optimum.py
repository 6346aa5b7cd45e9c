"""optimum-intel runs the pruned model after one call, `scap_ov.register(modeling_base.core)`, as examples/optimum_generate.py does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "optimum_generate.py"


def test_ov_model_for_causal_lm_generates(exported_sparse):
    folder, blocks = exported_sparse
    command = [sys.executable, "-I", str(EXAMPLE), str(folder), "What is the capital of France?", "--tokens", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert blocks or "Paris" in done.stdout
